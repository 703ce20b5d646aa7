"""Calls of tools that wait for a person, and the person's answers."""
