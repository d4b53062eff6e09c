"""``signinwatch replay``: exported sign-ins through the pipeline of the service."""
