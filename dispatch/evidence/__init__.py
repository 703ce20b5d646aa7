"""What has been seen of a step or a task that a decision takes into account."""
