"""Where shell commands run: confined by bubblewrap, a system call filter, and limits."""
