"""Endless loops: the same call again and again, and agents that run each other."""
