"""Read a provider's replies within limits of time and size."""
