"""Observations about a step or a task that a decision takes into account."""
