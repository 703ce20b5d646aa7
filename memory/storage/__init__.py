"""Storage of the memory: SQLite as the source of truth, Chroma as an index of it."""
