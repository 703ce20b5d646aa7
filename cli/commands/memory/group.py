"""``pointsman memory``: read, add to, delete from, re-embed, export, import and serve the shared memory."""

from __future__ import annotations

from ... import options
from . import changing, looking, moving, serving

__all__ = ["commands"]

commands = options.group(
    "Search, list, add to, explain, delete from, move, serve and measure the memory.",
    {
        "add": changing.add,
        "search": looking.search,
        "list": looking.list_,
        "show": looking.show,
        "why": looking.why,
        "forget": changing.forget,
        "export": moving.export,
        "import": moving.import_,
        "stats": looking.stats,
        "reindex": changing.reindex,
        "serve": serving.serve,
        "eval": looking.evaluate,
    },
)
