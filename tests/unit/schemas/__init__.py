"""Tests of the pure layer: what a message, a sign-in, a verdict and a finding are."""
