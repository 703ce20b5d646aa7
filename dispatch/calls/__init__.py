"""One model call, from its admission to its ledger row, and the chain of models tried for an answer."""
