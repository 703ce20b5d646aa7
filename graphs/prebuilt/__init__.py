"""Workflows that are ready to run."""
