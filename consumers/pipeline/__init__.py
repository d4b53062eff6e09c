"""The pipeline stages from a decoded message to an accepted finding."""
