"""Taint: where the values of a call come from, and whether they may decide what the call does."""
