"""The ledger in a state directory, for a single process."""
