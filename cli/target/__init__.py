"""Find what a command runs."""
