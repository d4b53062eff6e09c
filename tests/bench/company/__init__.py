"""Recordings of made-up companies."""
