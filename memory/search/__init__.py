"""How the memory is searched: items as arrays, filters, words, and the ranking that combines vectors and words."""
