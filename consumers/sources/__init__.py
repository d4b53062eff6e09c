"""Sources of intelligence."""
