"""The terminal: results on stdout, progress on stderr, tables, money, and text made safe to show."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from datetime import UTC, datetime
from typing import Any

import typer

from ...configs.redact import redact, redacted
from .fitting import fitted

__all__ = [
    "answer",
    "as_json",
    "line",
    "minute",
    "money",
    "paint",
    "progress",
    "result",
    "seconds",
    "short",
    "usd",
    "visible",
]

_OBEYED = re.compile("[\x7f-\x9f\ud800-\udfff]")
_KEPT = "\n\t\u200d"
"""Control characters that only affect layout; the last one joins emoji."""


def result(text: str = "", *, painted: bool = False) -> None:
    """Print to stdout, with secrets redacted.

    Args:
        text: What to print.
        painted: It consists of texts from `line` or tables, with colours from `paint`, which are kept.
    """
    said = redact(text)
    shown = said if painted or not sys.stdout.isatty() else visible(said)
    typer.echo(fitted(shown, sys.stdout))


def as_json(value: Any, *, lines: bool = False, clean: bool = False) -> None:
    """Print JSON to stdout with secrets redacted, on one line or indented.

    Args:
        value: What to print.
        lines: Print it on one line.
        clean: Its texts are redacted already; redaction takes most of the time if there are many lines.
    """
    # Redact before serializing: removing a secret from JSON text could make it invalid.
    said = value if clean else redacted(value)
    text = json.dumps(said, ensure_ascii=False, default=lambda one: redact(str(one)), indent=None if lines else 2)
    # The JSON encoder escapes the other control characters.
    typer.echo(_OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def answer(value: Any, text: str, *, json: bool, lines: bool = False, clean: bool = False) -> None:
    """Print the result of a command, as JSON by `as_json` if ``json`` is true, else as text."""
    if json:
        as_json(value, lines=lines, clean=clean)
    else:
        result(text)


def progress(text: str) -> None:
    """Print to stderr, with secrets redacted. If writing fails, as on a full disk, the command continues."""
    try:
        typer.echo(fitted(redact(text), sys.stderr), err=True)
    except BrokenPipeError:
        raise
    except OSError:
        return


def paint(text: str, colour: str, *, err: bool = True) -> str:
    """Colour a text, unless no colour is named, the stream is not a terminal, or ``NO_COLOR`` is set (no-color.org)."""
    stream = sys.stderr if err else sys.stdout
    if not colour or os.environ.get("NO_COLOR") or not stream.isatty():
        return text
    return typer.style(text, fg=colour)


def visible(text: str) -> str:
    """Escape control and direction-changing characters, which could make a terminal show something false."""
    return "".join(
        f"\\u{ord(c):04x}" if c not in _KEPT and unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in text
    )


def line(text: object) -> str:
    """Fold a text into one line with control characters escaped and secrets redacted."""
    return visible(" ".join(redact(str(text)).split()))


def short(text: object, limit: int) -> str:
    """Fold a text into one line, as `line`, of at most ``limit`` characters."""
    folded = line(text)
    return folded if len(folded) <= limit else folded[: limit - 1].rstrip() + "…"


def money(picodollars: int | None) -> str:
    """Format picodollars as USD; an unknown price is shown as unknown, never as zero."""
    from ...ledger.prices import dollars

    return dollars(picodollars)


def usd(amount: float) -> str:
    """Format an amount in USD as `money` does."""
    return money(round(amount * 10**12))


def minute(at: float) -> str:
    """Format a time in seconds since the epoch as UTC, to the minute."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def seconds(duration: float | None) -> str:
    """Format a duration in ms or s, whichever reads better."""
    if duration is None:
        return "-"
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    return f"{duration:.{1 if duration < 100 else 0}f} s"
