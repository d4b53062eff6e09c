"""Verdicts and indicators of the sources."""
