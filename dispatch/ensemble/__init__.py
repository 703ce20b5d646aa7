"""Several models asked the same, and one answer made of theirs."""
