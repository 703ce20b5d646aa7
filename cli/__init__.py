"""The command line: composes the rooms below, and is, with the server, the only reader of the environment."""
