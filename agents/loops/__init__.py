"""Loops that come to no end: the same call again and again, and agents that run each other."""
