"""The ledger: a bounded in-memory cache in front of a durable store."""
