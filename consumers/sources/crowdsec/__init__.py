"""CrowdSec's CTI API and its offline replica."""
