"""Unit tests of producers."""
