"""Quarantine of unreadable records and rejected findings."""
