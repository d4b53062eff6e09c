"""The command from outside, against real peers on loopback."""
