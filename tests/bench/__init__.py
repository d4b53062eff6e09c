"""Benchmarks, and the generators of what they and the demonstration run on."""
