"""What a shell command would do, read from its text alone: nothing is run, and no path is looked up."""
