"""Commands of ``signinwatch``: options, work and output."""
