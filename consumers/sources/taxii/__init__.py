"""TAXII 2.1 servers and the STIX objects that they hold."""
