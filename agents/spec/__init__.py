"""The arguments of an agent: its specification, its checks, and the types that it declares."""
