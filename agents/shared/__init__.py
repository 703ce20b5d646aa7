"""The memory that agents share: notes before a step, its result after it, tools in between."""
