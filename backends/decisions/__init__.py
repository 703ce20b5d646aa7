"""Decision models: typed questions, answered with a probability for each possible answer."""
