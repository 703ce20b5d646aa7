"""What may hold a call back: breakers, limits of rate, budgets, and what an operator switched off."""
