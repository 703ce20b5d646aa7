"""From files, environment and flags to settings, and what a project's files may ask for."""
