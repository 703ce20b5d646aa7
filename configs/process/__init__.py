"""What belongs to the process: its forks and its end, and what is made, closed or imported in it."""
