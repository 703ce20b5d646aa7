"""The commands that say what an act would do before it happens."""
