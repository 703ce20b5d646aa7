"""How hard a step looks, for rules that ask for it."""
