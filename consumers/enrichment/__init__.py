"""Enrichment of client IPs: local sources first, then ranked paid lookups within the budget."""
