"""One process that has a memory's folder open, for others to ask over HTTP."""
