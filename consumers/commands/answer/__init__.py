"""What a replay found, as people read it: by address, by account, one by one, as a page."""
