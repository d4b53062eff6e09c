"""Stories: evidence that several sign-ins give together, without any source."""
