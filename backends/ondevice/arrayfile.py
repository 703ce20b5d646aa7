"""Store arrays in a file with a checksum: no pickled objects, and incomplete or damaged files are rejected."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...configs.process.atomic import replace_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_arrays", "write_arrays"]

# The file is a numpy archive whose zip comment is the digest of all bytes before the comment's length.
_DIGEST, _LENGTH = 64, 2


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays to a ``.npz`` file atomically: another process sees the whole file or none.

    Args:
        path: The file; its folder is created.
        arrays: The arrays; object arrays are not allowed.

    Raises:
        OSError: The file cannot be written; no partial file is left.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    body = buffer.getvalue()[:-_LENGTH]
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, body + _DIGEST.to_bytes(_LENGTH, "little") + _digest(body))


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `write_arrays` wrote.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged or of another kind.
    """
    written = path.read_bytes()
    body = written[: -_LENGTH - _DIGEST]
    if written[-_DIGEST:] != _digest(body):
        raise ValueError("the file is damaged or of another kind")
    with np.load(io.BytesIO(written), allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode("ascii")
