"""Real peers on loopback, which count what they are asked."""
