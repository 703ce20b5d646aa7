"""The journal of a run's acts, written before and after each, so that none is repeated if the run is cut off."""
