"""Threat intelligence sources."""
