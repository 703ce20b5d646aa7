"""The command line: composes the packages below. Only it and the server read environment variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..configs.process.lazy import lazily

if TYPE_CHECKING:
    from .session.base import Answer as Answer
    from .session.base import Ask as Ask
    from .session.base import Command as Command
    from .session.base import Face as Face

_NAMES = {"session.base": ("Answer", "Ask", "Command", "Face")}

__all__ = ["Answer", "Ask", "Command", "Face"]

__getattr__, __dir__ = lazily(__name__, _NAMES)
