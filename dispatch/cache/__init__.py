"""The cache of answers to repeated requests."""
