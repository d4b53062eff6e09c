"""What lies in deploy/, held against the code and against itself."""
