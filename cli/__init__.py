"""The command line: composes the packages below. Only it and the server read environment variables."""
