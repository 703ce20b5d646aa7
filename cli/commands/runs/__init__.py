"""The commands that run workflows, take up runs, and show them and what waits for a person."""
