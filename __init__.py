"""Pointsman: agents bound to models by the risk of each step."""
