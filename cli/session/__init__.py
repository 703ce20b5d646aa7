"""A session: a conversation at the terminal, in lines, or with a program."""
