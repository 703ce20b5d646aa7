"""What lies encrypted on the disk, and the user's key to it."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.dispatch.state.sealing import Seal, user_seal


def test_what_is_sealed_comes_back_as_it_was_and_cannot_be_read_without_the_key(tmp_path: Path) -> None:
    text = "password=hunter2 ü \ud800"
    closed = Seal(tmp_path).close(text)

    assert "hunter2" not in closed
    assert closed != Seal(tmp_path).close(text)
    assert Seal(tmp_path).open(closed) == text


@pytest.mark.parametrize("text", ['{"kept": "by another"}', "", "aes256gcm-00000000", "plain:AAAA"])
def test_what_nobody_encrypted_is_not_used(tmp_path: Path, text: str) -> None:
    with pytest.raises(
        ConfigError, match="is not encrypted with your key, so it may be another user's and is not used"
    ):
        Seal(tmp_path).open(text)


def test_the_key_is_made_once_whoever_comes_first_and_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "pointsman"
    seals = [Seal(folder) for _ in range(12)]
    closed: list[str] = []
    start = threading.Barrier(len(seals))

    def work(seal: Seal) -> None:
        start.wait(240)
        closed.append(seal.close("text"))

    threads = [threading.Thread(target=work, args=(seal,)) for seal in seals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [seal.open(one) for seal in seals for one in closed] == ["text"] * 144
    key = folder / "state.key"
    assert sorted(path.name for path in folder.iterdir()) == ["state.key", "state.lock"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, key)] == [0o700, 0o600]
    assert len(bytes.fromhex(key.read_text())) == 32


def test_a_key_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    closed = Seal(tmp_path).close("text")
    key = tmp_path / "state.key"
    key.chmod(0o644)

    assert Seal(tmp_path).open(closed) == "text"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("lost", "state.key: is not there, the key that this was encrypted with: put back the key file of that time"),
        ("another", "state.key: holds another key than this was encrypted with (aes256gcm-"),
        ("broken", "state.key: is no key of 64 hex digits: put back the key file of that time"),
        ("damage", "has been changed or damaged since: put a copy of the state folder back"),
        ("a folder", "state.key: cannot be used: "),
    ],
)
def test_what_cannot_be_opened_says_why_and_what_to_do_in_one_line(tmp_path: Path, harm: str, says: str) -> None:
    closed, key = Seal(tmp_path).close("text"), tmp_path / "state.key"
    if harm == "damage":
        closed = closed[:-8] + ("A" if closed[-8] != "A" else "B") + closed[-7:]
    else:
        key.unlink()
    if harm == "another":
        Seal(tmp_path).close("text")
    elif harm == "broken":
        key.write_text("not a key")
    elif harm == "a folder":
        key.mkdir()

    with pytest.raises(ConfigError) as caught:
        Seal(tmp_path).open(closed)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    # Reading makes no key, with which nothing could be read.
    assert key.exists() is (harm != "lost")


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"POINTSMAN_HOME": "own"}, "own/state"),
        ({"XDG_STATE_HOME": "xdg"}, "xdg/pointsman"),
        ({}, "home/.local/state/pointsman"),
    ],
)
def test_the_key_lies_in_the_users_state(
    environ: dict[str, str], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    for name, folder in {"HOME": "home", **environ}.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    user_seal().close("text")

    assert (tmp_path / place / "state.key").is_file()


def test_without_a_home_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE", "POINTSMAN_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="set HOME, or POINTSMAN_HOME, to a folder of yours"):
        user_seal()
