"""Code of the user's own, contained: what would end more than itself ends a call, or a run."""
