"""The port of the sandbox: whether commands can be confined on this machine, and what to do where they cannot."""

from __future__ import annotations

from dataclasses import dataclass

from ...configs.sandbox import Sandbox

__all__ = ["Sandbox", "SandboxState"]


@dataclass(frozen=True, slots=True)
class SandboxState:
    """What trying the sandbox has shown.

    Attributes:
        working: A command ran inside, and was kept from what it must not reach.
        reason: How it confines, or why it cannot, in one line.
        advice: What to do about that; empty where nothing is to be done.
    """

    working: bool
    reason: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.advice}" if self.advice else self.reason
