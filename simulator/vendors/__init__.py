"""The wire format of each vendor."""
