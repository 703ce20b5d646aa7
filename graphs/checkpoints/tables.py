"""The tables of ``checkpoints.db``: LangGraph's own, as version 0.1 wrote them, and what was added to them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ...ledger.storage.connection import Kind

__all__ = ["CHECKPOINTS", "THREAD_TABLES", "file_of"]

_LANGGRAPH: Final = (
    """CREATE TABLE IF NOT EXISTS checkpoints (
        thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '', checkpoint_id TEXT NOT NULL,
        parent_checkpoint_id TEXT, type TEXT, checkpoint BLOB, metadata BLOB,
        PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id))""",
    """CREATE TABLE IF NOT EXISTS writes (
        thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL DEFAULT '', checkpoint_id TEXT NOT NULL,
        task_id TEXT NOT NULL, task_path TEXT NOT NULL DEFAULT '', idx INTEGER NOT NULL, channel TEXT NOT NULL,
        type TEXT, value BLOB,
        PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx))""",
)
"""As `langgraph.checkpoint.sqlite` makes them, so that a file of version 0.1 stays usable."""
_OURS: Final = (
    # When a run came to its end, in seconds since the epoch.
    "CREATE TABLE IF NOT EXISTS ended (thread_id TEXT PRIMARY KEY NOT NULL, at REAL NOT NULL) WITHOUT ROWID",
    # A value that several checkpoints share; versions have the type that the graph's versions have. If it has a
    # base, it is what was added to the list at that version.
    """CREATE TABLE channel_values (
        thread_id TEXT NOT NULL, checkpoint_ns TEXT NOT NULL, channel TEXT NOT NULL, version NOT NULL, base,
        type TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (thread_id, checkpoint_ns, channel, version))""",
    "CREATE TABLE fences (run TEXT PRIMARY KEY NOT NULL, token INTEGER NOT NULL) WITHOUT ROWID",
)
CHECKPOINTS: Final = Kind(
    "the checkpoint file",
    0,
    ((*_LANGGRAPH, *_OURS),),
    # Deleted data does not remain in the file's free pages.
    ("PRAGMA secure_delete = ON",),
)
THREAD_TABLES: Final = ("checkpoints", "writes", "channel_values")
"""The tables that hold what is stored of a thread."""


def file_of(state: Path) -> Path:
    """Return the path of a project's checkpoints.

    Args:
        state: The project's state folder.
    """
    return state / "checkpoints.db"
