"""What a command is to run."""
