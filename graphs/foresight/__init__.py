"""What a run would do and cost, and what would go wrong with it, said before anything runs."""
