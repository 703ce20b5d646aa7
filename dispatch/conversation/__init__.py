"""Conversion of a conversation into the form that the current model accepts."""
