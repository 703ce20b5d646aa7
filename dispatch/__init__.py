"""Dispatch: carry a routing decision out."""
