"""How the memory is searched: the items as arrays, filters, words, and the ranking of both together."""
