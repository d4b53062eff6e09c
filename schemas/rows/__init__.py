"""Rows of the output tables, and the policy that assigns severities."""
