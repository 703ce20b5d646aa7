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


def test_the_content_is_on_disk_before_it_takes_the_place_of_the_file_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []
    file = tmp_path / "file"

    def watched(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def step(*given: Any) -> None:
            drafts = [path for path in tmp_path.iterdir() if path != file]
            folder = isinstance(given[0], int) and stat.S_ISDIR(os.fstat(given[0]).st_mode)
            seen.append((f"{name} of the folder" if folder else name, *(draft.read_bytes() for draft in drafts)))
            real(*given)

        return step

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, watched(name))
    replace_file(file, b"whole")
    assert seen == [("fsync", b"whole"), ("replace", b"whole"), ("fsync of the folder",)]


def test_a_link_of_the_users_stays_and_the_file_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    file, link = tmp_path / "dotfiles" / "router.npz", tmp_path / "router.npz"
    link.symlink_to(file)
    for content in (b"one", b"two"):
        replace_file(link, content)
        assert (link.readlink(), file.read_bytes()) == (file, content)
    replace_file(link, b"secret", mode=0o600)
    assert (link.is_symlink(), link.read_bytes(), file.read_bytes()) == (False, b"secret", b"two")


def test_a_file_keeps_its_owner_where_the_process_may_set_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"before")
    file.chmod(0o640)
    given: list[tuple[int, int]] = []

    def refuse(_: int, user: int, group: int) -> None:
        given.append((user, group))
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    replace_file(file, b"after")
    assert (given, file.read_bytes()) == ([(file.stat().st_uid, file.stat().st_gid)], b"after")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


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
