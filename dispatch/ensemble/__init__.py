"""Ask several models the same request, and combine their answers into one."""
