"""What programs do with their arguments: one module a kind of program, each with a table of its handlers."""
