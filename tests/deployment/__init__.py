"""What is deployed, built and checked without Azure."""
