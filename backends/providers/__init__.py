"""The backends of the providers, one module each."""
