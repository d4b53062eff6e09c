"""What leaves the process: findings, and what is kept aside."""
