"""What an agent is given: its specification, the checks of it, and the types that it declares."""
