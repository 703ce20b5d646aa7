"""A vendor's exceptions and wordings as kinds of `BackendError`."""
