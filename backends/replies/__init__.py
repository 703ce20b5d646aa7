"""What a provider answered, read within bounds of time and size."""
