"""Predict what a run would do and cost, and what would go wrong with it, before anything runs."""
