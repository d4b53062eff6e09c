"""``signinwatch inspect``: what an export holds."""
