"""Lists of addresses and networks as local sources."""
