"""What is printed fits the terminal, and help speaks no Python."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import termios
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.cli.io import fitting
from pointsman.cli.io.fitting import fitted
from pointsman.cli.io.table import table
from pointsman.cli.main import COMMANDS, app
from typer.testing import CliRunner

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PROSE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp", "Mn", "Mc", "Me"]) | st.just(" "))


def columns_of(line: str) -> int:
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in line
    )


class Terminal(io.StringIO):
    """A stream that is a terminal of so many columns."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._slave

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture(scope="module")
def terminal() -> Terminal:
    return Terminal(60)


@pytest.mark.slow
@pytest.mark.parametrize("letter", ["x", "漢"])
def test_a_word_of_any_length_is_measured_but_a_few_times(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, letter: str
) -> None:
    from pointsman.cli.session.terminal import _Screen

    class Output(io.StringIO):
        def get_size(self) -> os.terminal_size:
            return os.terminal_size((60, 40))

        write_raw = io.StringIO.write

    measured = []
    width = fitting.width
    monkeypatch.setattr(fitting, "width", lambda text: measured.append(len(text)) or width(text))
    word, output = letter * 20_000, Output()
    assert fitted(word, terminal).replace("\n", "").replace(" ", "") == word
    _Screen(output).write(f"{word}\n")  # type: ignore[arg-type]  # it has what is used of one
    assert output.getvalue().replace("\n", "") == word
    assert max(columns_of(line) for line in output.getvalue().splitlines()) == 60
    assert sum(measured) < 500 * len(word)


@given(PROSE)
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(terminal: Terminal, text: str) -> None:
    shown = fitted(text, terminal)

    assert max(map(columns_of, shown.split("\n"))) <= 60
    assert "".join(shown.split()) == "".join(text.split())


def test_a_long_row_goes_on_indented_and_colours_take_no_room(terminal: Terminal) -> None:
    row = f"economy  \x1b[32m{'x' * 40}\x1b[0m  0.14  no key: set ANTHROPIC_API_KEY"

    assert fitted(row, terminal).split("\n") == [row.split(" key")[0], "    key: set ANTHROPIC_API_KEY"]
    assert fitted("short", terminal) == "short"
    long = "see " + "/folder" * 8
    assert fitted(f"        {long}", terminal).split("\n") == ["        see", "    " + "/folder" * 8]


RUN = "20261128-035132-0a1b2c3d"
WIDE = ["請求書の確認をお願いします " * 3, "👩‍👩‍👧 ❤️ 🇩🇪 " * 9, "a/" + "long-" * 8 + "model", "word " * 30]


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("what", [*WIDE, "short"], ids=["cjk", "emoji", "model", "prose", "short"])
def test_a_table_keeps_identifiers_whole_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, columns: int, what: str
) -> None:
    stream = Terminal(columns)
    monkeypatch.setattr("sys.stdout", stream)
    rows = [(RUN, "2026-11-28 03:51", "critical", f"vendor/{'m' * 34}", what), (RUN, "-", "low", "vendor/m", "")]
    laid = table(rows, ("run", "since (UTC)", "risk", "model", "what")).split("\n")
    stream.close()

    assert [line for line in laid if columns_of(line) > columns] == []
    assert [line.startswith(RUN) for line in laid].count(True) == 2
    assert sum(f"vendor/{'m' * 34}" in line for line in laid) == 1
    assert set(what.split()) <= set(" ".join(laid).split())


def test_columns_that_do_not_fit_stand_below_their_row_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Terminal(60))
    rows = [("a1b2c3d4", RUN, "delete_account the account of bob", "x"), ("b2", RUN, "-", "the tool deletes " * 4)]
    assert table(rows, ("id", "run", "what", "why")).split("\n") == [
        "id        run",
        f"a1b2c3d4  {RUN}",
        "    what: delete_account the account of bob  why: x",
        f"b2        {RUN}",
        "    why: the tool deletes the tool deletes the tool deletes",
        "    the tool deletes",
    ]


def test_a_last_column_with_room_is_wrapped_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Terminal(60))
    laid = table(
        [
            (
                "economy",
                "one two " * 8,
            ),
            ("n", "7"),
        ],
        right=[0],
    ).split("\n")
    assert laid[1].startswith("         one two") or laid[1].startswith("         two one")
    assert laid[-1] == "      n  7"


def test_what_is_no_terminal_gets_a_row_a_line() -> None:
    assert table([("請求", "word " * 60), ("é", "y")], ("id", "what")).split("\n") == [
        "id    what",
        "請求  " + " ".join(["word"] * 60),
        "é     y",
    ]


def test_what_is_no_terminal_gets_lines_as_they_are() -> None:
    assert fitted("x" * 500, io.StringIO()) == "x" * 500


@pytest.mark.parametrize("command", [["models"], ["doctor"], ["run", "nosuch.py:flow", "hello"], ["config", "show"]])
def test_a_command_fits_sixty_columns(programs: Any, project: Path, command: list[str]) -> None:
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 60, 0, 0))
    code = "from pointsman.cli.main import main; main()"
    running = programs.start(["-c", code, *command], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while got := os.read(terminal, 65536):
            said += got
    except OSError:  # nobody writes any more
        pass
    finally:
        os.close(terminal)
        running.wait()
    lines = COLOUR.sub("", said.decode()).replace("\r", "").split("\n")
    assert len(lines) > 1
    assert [line for line in lines if columns_of(line) > 60] == []
    assert "\\u001b" not in said.decode()


@pytest.mark.parametrize(
    "command", [*([name] for name in COMMANDS), ["provider", "probe"], ["batch", "submit"]], ids=str
)
def test_help_speaks_no_python(command: list[str]) -> None:
    said = CliRunner().invoke(app, [*command, "--help"]).stdout

    assert "Usage: " in said
    assert not re.search(r"list\[|<\w+( range)?>|\[\[", said)
