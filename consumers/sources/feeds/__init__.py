"""Feeds of indicators: kept, brought up to date, and matched in the stream."""
