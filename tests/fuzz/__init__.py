"""Long searches for bodies that break the decoder: commands, not part of ``make test``."""
