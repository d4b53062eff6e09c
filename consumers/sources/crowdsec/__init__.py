"""CrowdSec's API and its offline replica."""
