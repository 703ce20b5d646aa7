"""What a run writes down of its acts before and after them, so that none is done twice where it is cut off."""
