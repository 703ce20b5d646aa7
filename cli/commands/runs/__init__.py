"""The commands that run workflows, resume runs, and show runs and what waits for a person."""
