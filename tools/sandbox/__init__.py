"""Where shell commands run: confined by bubblewrap, a filter of system calls, and limits."""
