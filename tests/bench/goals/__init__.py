"""One command for each performance goal."""
