"""Faults and steps of `pointsman drill`."""
