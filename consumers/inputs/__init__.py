"""Where messages come from: event hubs and recordings."""
