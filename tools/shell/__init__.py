"""The tool that runs a command."""
