"""What sources say of an address."""
