"""The HTTP clients of the vendors' SDKs: hosts that may get a key, and when a request was sent."""
