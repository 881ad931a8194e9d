"""Fixtures: a box and the peers around it, each on addresses of its own, all ended with the test."""
