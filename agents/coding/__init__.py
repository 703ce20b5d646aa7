"""What agents need that work for long in a folder: its notes for them, and a conversation that stays in bounds."""
