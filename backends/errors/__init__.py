"""Map a vendor's exceptions and error messages to kinds of `BackendError`."""
