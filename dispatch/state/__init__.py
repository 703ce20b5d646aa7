"""Ownership of the state folder, and taking over the state of other users or earlier versions."""
