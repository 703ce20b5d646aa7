"""The port of the sandbox: whether commands can be confined on this machine, and what to do if they cannot."""

from __future__ import annotations

from dataclasses import dataclass

from ...configs.sandbox import Sandbox

__all__ = ["Sandbox", "SandboxState"]


@dataclass(frozen=True, slots=True)
class SandboxState:
    """The result of trying the sandbox.

    Attributes:
        working: A command ran inside, and could not reach what it must not.
        reason: How it confines, or why it cannot, in one line.
        advice: What to do about that; empty if there is nothing to do.
    """

    working: bool
    reason: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.advice}" if self.advice else self.reason
