"""``signinwatch redact``: recordings that are safe to share."""
