"""Decoding of message bodies into sign-ins."""
