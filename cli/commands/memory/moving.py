"""``pointsman memory export`` and ``import``: the memory as JSON, one item per line."""

from __future__ import annotations

import hashlib
import json as json_
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....configs.errors import ConfigError, disk_errors
from ... import options
from ...io.output import answer, as_json, progress, result
from ...settings import opened
from ...signals import end_cleanly

if TYPE_CHECKING:
    from ....memory.store import ChromaStore

__all__ = ["export", "import_"]

_FORMAT = 1
_PAGE = 500


def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to write; a file that is there is not overwritten.")
    ],
    json: options.AsJson = False,
) -> None:
    """Write all items to a file, for 'memory import': values, writers, trust, lineage, expiry and vectors.

    The last line is signed with your key, so that 'import' can tell whether the file was changed.
    """
    end_cleanly()
    with opened(reads=True) as runtime:
        count = 0
        try:
            with file.open("x", encoding="ascii") as out:
                file.chmod(0o600)
                for line, items in _lines(runtime.store):
                    out.write(line)
                    count += items
        except FileExistsError:
            raise ConfigError("is there already: name another file", file=file) from None
        except BaseException as error:
            file.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise ConfigError(f"cannot be written: {error.strerror}", file=file) from error
            raise
    answer({"items": count, "file": str(file)}, f"{count} items are in {file}", json=json)


def _lines(store: ChromaStore) -> Iterator[tuple[str, int]]:
    """Yield the lines of a file, each with the number of items it holds."""
    from ....dispatch.state.sealing import user_seal

    held, digest = store.stats(), hashlib.sha256()
    first = {"pointsman_memory": _FORMAT, **{name: held[name] for name in ("tenant", "embedder", "dimensions")}}
    count = after = 0

    def line(about: dict[str, Any]) -> str:
        # In ASCII, so that a lone surrogate in a text is preserved.
        text = json_.dumps(about) + "\n"
        digest.update(text.encode())
        return text

    yield line(first), 0
    while page := store.exported(after, _PAGE):
        for item in page:
            yield line(item), 1
        count, after = count + len(page), page[-1]["seq"]
    yield line({"items": count, "signature": user_seal().sign(digest.hexdigest())}), 0


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that 'memory export' wrote.")],
    json: options.AsJson = False,
) -> None:
    """Import the items of a file; importing it again changes nothing.

    An item that is in the memory already is replaced by a newer one only, and never gains trust. What was forgotten
    stays forgotten. From a file that you did not export yourself, or that was changed since, all items are untrusted,
    and replace nothing else that is trusted further.
    """
    end_cleanly()
    counts: dict[str, int] = {}
    with opened() as runtime:
        head, end, trusted = _checked(file)
        if not trusted:
            progress(f"{file} was exported by somebody else, or changed since: its items come in untrusted")
        for number, some in _batches(file, end):
            try:
                found = runtime.store.restore(some, embedder=str(head.get("embedder")), trusted=trusted)
            except ConfigError as error:
                raise ConfigError(f"in lines {number} to {number + len(some) - 1}: {error}", file=file) from error
            counts = {name: counts.get(name, 0) + count for name, count in found.items()}
    if json:
        as_json({**counts, "trusted": trusted})
        return
    listed = [f"{count} {name}" for name, count in counts.items() if count]
    result(f"from {file}: {', '.join(listed) or 'nothing'}")


def _checked(file: Path) -> tuple[dict[str, Any], int, bool]:
    """Return a file's first line, the number of its last line, and whether it is as this user exported it."""
    from ....dispatch.state.sealing import user_seal

    digest, before = hashlib.sha256(), ""
    head: dict[str, Any] = {}
    last, number = "", 0
    with disk_errors("cannot be read", file=file), file.open("rb") as lines:
        for number, data in enumerate(lines, 1):
            before = digest.hexdigest()
            digest.update(data)
            last = data.decode("utf-8", "replace")
            if number == 1:
                head = _object(last)
    end = _object(last)
    if head.get("pointsman_memory") != _FORMAT:
        raise ConfigError("is no file of 'pointsman memory export', or of a newer version", file=file)
    if "signature" not in end or end.get("items") != number - 2:
        raise ConfigError("is cut off or was put together: its last line does not fit; export again", file=file)
    return head, number, user_seal().signed(before, str(end["signature"]))


def _batches(file: Path, end: int) -> Iterator[tuple[int, Sequence[dict[str, Any]]]]:
    """Yield the items of a file in batches, each with the number of its first line."""
    some: list[dict[str, Any]] = []
    with file.open("rb") as lines:
        for number, data in enumerate(lines, 1):
            if 1 < number < end:
                some.append(_object(data.decode("utf-8", "replace")))
                if len(some) == _PAGE:
                    yield number - _PAGE + 1, some
                    some = []
    if some:
        yield end - len(some), some


def _object(line: str) -> dict[str, Any]:
    try:
        found = json_.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
