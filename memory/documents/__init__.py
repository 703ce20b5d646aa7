"""Documents in the memory: how they are split, and what an edited one does to its stored passages."""
