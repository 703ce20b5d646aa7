"""Redirections of a command: its input, and where its output goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .expansion import Shell, fields, text_of
from .values import DATA, UNKNOWN

__all__ = ["Walker", "redirected"]


class Walker(Shell, Protocol):
    """Reads a text statement by statement."""

    def walk(self, node: Any, stdin: str | None = None) -> str:
        """Read a statement; return what it prints."""

    def redirect(self, node: Any, target: str, *, writes: bool) -> None:
        """Record the rules for a redirection to or from a path."""


def redirected(reader: Walker, parts: list[Any], body: Callable[[str | None], str], stdin: str | None) -> str:
    """Read a command with its redirections.

    Args:
        reader: Reads the commands in them.
        parts: The redirections.
        body: Reads the command itself, given its input; returns what it prints.
        stdin: What is piped in.

    Returns:
        The input of the next command of the pipe.
    """
    out: list[tuple[str, bool]] = []
    after: list[Any] = []
    for part in parts:
        if part.type == "herestring_redirect":
            words = [child for child in part.named_children if child.type != "file_descriptor"]
            stdin = "".join(text_of(word, reader) for word in words) + "\n"
        elif part.type == "heredoc_redirect":
            stdin = _document(reader, part, out, after)
        elif part.type == "file_redirect":
            stdin = _file(reader, part, out, stdin)
        else:
            after.append(part)
    printed = body(stdin)
    for path, adds in out:
        reader.scope.write(path, printed, adds=adds)
    if out:
        printed = ""
    for part in after:
        if part.type == "pipeline":
            for child in part.named_children:
                printed = reader.walk(child, printed)
        else:
            printed += reader.walk(part)
    return printed


def _document(reader: Walker, part: Any, out: list[tuple[str, bool]], after: list[Any]) -> str:
    """Return the text of a here-document; what follows it on its line belongs to the command."""
    text, quoted = "", False
    for child in part.named_children:
        if child.type == "heredoc_start":
            quoted = any(sign in child.text.decode() for sign in "'\"\\")
        elif child.type == "heredoc_body":
            text = child.text.decode() if quoted else text_of(child, reader)
        elif child.type == "file_redirect":
            _file(reader, child, out, None)
        elif child.type in ("pipeline", "command", "list"):
            after.append(child)
        elif child.type not in ("heredoc_end", "file_descriptor"):
            text += UNKNOWN if child.type == "ERROR" else ""
    if any(sign.type == "<<-" for sign in part.children):
        text = "\n".join(line.lstrip("\t") for line in text.split("\n"))
    return text


def _file(reader: Walker, part: Any, out: list[tuple[str, bool]], stdin: str | None) -> str | None:
    signs = [child.type for child in part.children if not child.is_named]
    sign = signs[0] if signs else ">"
    targets: list[str] = []
    for child in part.named_children:
        if child.type not in ("file_descriptor", "ERROR"):
            targets += fields(child, reader)
    described = [child.text for child in part.named_children if child.type == "file_descriptor"]
    for target in targets[:1]:
        if sign in (">&", "<&") and (target.isdigit() or target.rstrip("-").isdigit() or target == "-"):
            continue
        if sign.startswith("<"):
            reader.redirect(part, target, writes=part.has_error)
            stdin = "" if target == "/dev/null" else reader.scope.files.get(reader.scope.path(target), DATA)
        else:
            reader.redirect(part, target, writes=True)
            # If only errors are redirected, standard output still goes on.
            if described != [b"2"]:
                out.append((reader.scope.path(target), sign in (">>", "&>>")))
    return stdin
