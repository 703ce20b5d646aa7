"""Load settings from files, environment and flags, and decide what a project's files may change."""
