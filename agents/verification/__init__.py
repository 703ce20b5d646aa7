"""Whether the result of a step holds, judged by another author than its own."""
