"""What programs do with their arguments: one module per kind of program, each with a table of handlers."""
