"""``signinwatch check``: test every connection and permission."""
