"""Agents: what each is told, may run on and can reach."""
