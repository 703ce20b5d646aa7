"""What a decision depends on besides the request and the current circumstances."""
