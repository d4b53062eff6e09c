"""Indicator feeds: sync, storage, and matching against sign-ins."""
