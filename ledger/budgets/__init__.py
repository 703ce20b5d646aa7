"""Caps on spending, kept at any concurrency."""
