"""The rows that are written, and the policy that gives them a severity."""
