"""One model call from its admission to its row, and the chain of models that are tried for an answer."""
