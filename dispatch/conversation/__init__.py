"""A conversation in the form that the model of the moment accepts."""
