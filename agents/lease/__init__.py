"""Who works on a run: a lease with a fencing token, a sign of life, and the heartbeat that renews it."""
