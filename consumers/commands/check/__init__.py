"""The command ``signinwatch check``."""
