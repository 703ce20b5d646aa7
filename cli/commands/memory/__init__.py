"""``pointsman memory``: show the shared memory and change it."""
