"""Caps on spending, enforced at any concurrency."""
