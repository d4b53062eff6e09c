"""Tests of signinwatch."""
