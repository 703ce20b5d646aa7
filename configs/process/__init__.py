"""Utilities for the process: forks and exit, locks, files, cached attributes, closing, lazy imports, ids and queues."""
