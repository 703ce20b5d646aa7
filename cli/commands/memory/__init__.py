"""``pointsman memory``: what the shared memory holds, and what is done with it."""
