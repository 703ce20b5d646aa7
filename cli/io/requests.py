"""Requests in a file with one JSON object per line, as several commands read them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...configs.errors import disk_errors
from .output import progress, short

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from ...routing.request import RouteRequest

__all__ = ["MAX_LINE", "broken_line", "first_wrong", "json_of", "lines_of", "numbered", "request_of"]

MAX_LINE = 20_000_000


def lines_of(file: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers.

    Args:
        file: The file's path; ``-`` for standard input.

    Raises:
        ConfigError: It cannot be read.
    """
    from .inputs import standard_input

    if file == "-":
        if sys.stdin.isatty():
            progress("reading requests from standard input, one JSON object a line")
        yield from numbered(standard_input())
        return
    with disk_errors("cannot be read", file=file), Path(file).open("rb") as source:
        yield from numbered(source)


def request_of(text: bytes, number: int) -> RouteRequest | None:
    """Parse one request, or report on stderr what is wrong with its line and return None.

    Args:
        text: The line.
        number: Its number.
    """
    from pydantic import ValidationError

    from ...routing.request import RouteRequest

    made = json_of(text, number)
    if made is None:
        return None
    if not isinstance(made, dict):
        broken_line(number, "a request is a JSON object with messages, kind, effects and so on")
        return None
    try:
        return RouteRequest.model_validate_json(text)
    except ValidationError as error:
        broken_line(number, first_wrong(error, RouteRequest))
        return None


def json_of(text: bytes, number: int) -> Any:
    """Parse the JSON of one line, or report on stderr what is wrong with it and return None.

    Args:
        text: The line.
        number: Its number.
    """
    if len(text) > MAX_LINE:
        broken_line(number, f"is longer than {MAX_LINE:,} bytes")
        return None
    try:
        made = json.loads(text, object_pairs_hook=_once)
    except _Twice as twice:
        # JSON parsers differ in which of the two they use, so it could be mistaken for a harmless request.
        broken_line(number, f"the key {twice.args[0]!r} stands twice; give each key once")
        return None
    except (ValueError, RecursionError) as error:
        broken_line(number, f"is not JSON: {short(error, 120)}")
        return None
    if made is None:
        broken_line(number, "is null; give a request")
    return made


def first_wrong(error: ValidationError, model: type[BaseModel]) -> str:
    """Return in a few words the first thing that is wrong with a line, with its key.

    Args:
        error: The error from pydantic.
        model: The class that the line should match; the key closest to an unknown one is suggested.
    """
    from ...configs.loading.layers import suggest

    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    said = first["msg"]
    if first["type"] == "extra_forbidden":
        said = f"unknown key{suggest(where, model.model_fields)}"
    return f"{where}: {short(said, 160)}" if where else short(said, 160)


class _Twice(Exception):
    """A key occurs twice in a JSON object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            raise _Twice(key)
        made[key] = value
    return made


def broken_line(number: int, said: str) -> None:
    """Report on stderr what is wrong with a line."""
    progress(f"error: line {number}: {said}")


def numbered(source: Any) -> Iterator[tuple[int, bytes]]:
    """Yield the non-blank lines of an open file with their numbers; a line longer than `MAX_LINE` is split."""
    number = 0
    while line := source.readline(MAX_LINE + 1):
        number += 1
        if line.strip():
            yield number, line
