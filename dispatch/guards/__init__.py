"""What may block or delay a call: breakers, rate limits, budgets, and what an operator switched off."""
