"""The supervisor: a plan of steps, each done by an agent, verified if its risk requires it, and put together."""
