"""The supervisor: a plan of steps, each done by an agent, verified where its risk asks for it, and put together."""
