"""Where records and findings are kept that could not be read or were refused."""
