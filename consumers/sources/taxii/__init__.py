"""Client for TAXII 2.1 servers, and parsing of their STIX objects."""
