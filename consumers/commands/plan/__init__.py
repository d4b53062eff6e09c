"""``signinwatch plan``: what a recording costs under each CrowdSec plan."""
