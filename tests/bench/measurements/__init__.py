"""Measurements that have no goal, and what they share."""
