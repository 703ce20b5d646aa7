"""Verification of a step's result by a model of another author than its own."""
