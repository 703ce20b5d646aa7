"""Files that are replaced as a whole, or not at all."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.configs.process.atomic import locked, replace_file


def test_a_file_has_its_new_content_and_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "router.npz"
    replace_file(file, b"one")
    (tmp_path / "beside").touch()
    assert file.stat().st_mode == (tmp_path / "beside").stat().st_mode
    file.chmod(0o640)
    replace_file(file, b"two")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"two", 0o640)
    replace_file(file, b"three", mode=0o600)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"three", 0o600)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["fchmod", "fsync", "replace"])
def test_a_write_that_is_broken_off_leaves_the_file_as_it_was_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        replace_file(file, b"after")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"before"}


def test_the_content_is_on_disk_before_it_takes_the_place_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bytes]] = []
    file = tmp_path / "file"

    def watched(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def step(*given: Any) -> None:
            draft = next(path for path in tmp_path.iterdir() if path != file)
            seen.append((name, draft.read_bytes()))
            real(*given)

        return step

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, watched(name))
    replace_file(file, b"whole")
    assert seen == [("fsync", b"whole"), ("replace", b"whole")]


def test_a_child_forked_while_a_lock_is_held_does_not_keep_it(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    released, wait = os.pipe()
    with locked(file):
        child = os.fork()
        if not child:
            os.close(wait)
            os.read(released, 1)
            os._exit(0)
    try:
        with file.open() as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(wait)
        os.waitpid(child, 0)
        os.close(released)
