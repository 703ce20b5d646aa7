"""Where the memory is kept: SQLite as the truth, Chroma as an index of it, a server for several machines."""
