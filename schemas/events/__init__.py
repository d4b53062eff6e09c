"""From the bytes of a message to sign-ins."""
