"""The ledger in Azure Table Storage, shared by all instances."""
