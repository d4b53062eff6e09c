"""What is known of an address: local sources first, then paid lookups by rank within the budget."""
