"""The command line: composes the packages below. Only it and the server read environment variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .session.base import Answer, Ask, Command, Face

_NAMES = {"session.base": ("Answer", "Ask", "Command", "Face")}

__all__ = ["Answer", "Ask", "Command", "Face"]

__getattr__, __dir__ = lazily(__name__, _NAMES)
