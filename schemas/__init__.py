"""The vocabulary: what a message, a sign-in, a verdict and a finding are. Pure: no I/O."""
