"""Containment of the user's code: what would end more than itself ends a call or a run."""
