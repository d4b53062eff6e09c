"""The ledger: a bounded memory front over a durable store."""
