"""Support for agents that work in a folder for long: the folder's notes for them, and a bounded conversation."""
