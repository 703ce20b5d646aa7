"""Utilities for the process: forks and exit, cached attributes, closing, lazy imports, ids and queues."""
