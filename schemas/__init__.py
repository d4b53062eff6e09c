"""Data types and ports: messages, sign-ins, verdicts and findings. No I/O."""
