"""Serve a memory over HTTP from the one process that has its folder open."""
