"""Requests that can wait, carried out by the providers' batch APIs."""
