"""``python -m pointsman``: the command ``pointsman``."""

from .cli.entry import main

main()
