"""The HTTP clients of the vendors' SDKs: which hosts may receive a key, and whether a request was sent."""
