"""The ledger in a directory, for one process."""
