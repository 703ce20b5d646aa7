"""The command as a whole: help, errors, exit codes, and the pieces that need no model."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from pointsman.cli import main as cli
from pointsman.cli.commands.graph import draw
from pointsman.cli.errors import ExitCode, judge
from pointsman.cli.io.approval import at_terminal
from pointsman.cli.io.inputs import read_input, read_messages, read_piped
from pointsman.cli.io.output import line, money, visible
from pointsman.cli.io.requests import lines_of
from pointsman.cli.io.table import table
from pointsman.cli.streams import prepare
from pointsman.cli.target.target import looks_like_target
from pointsman.configs.errors import ConfigError
from typer.testing import CliRunner

HEAVY = ("anthropic", "chromadb", "google", "langchain", "langchain_core", "langgraph", "numpy", "openai", "pydantic",
         "rich", "sklearn", "wordllama", "yaml", "asyncio")  # fmt: skip


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def test_a_stream_that_the_caller_has_closed_is_empty_and_nobody_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    prepare()
    with sys.stdin, sys.stdout, sys.stderr:
        print("nobody reads this")
        assert (sys.stdin.read(), at_terminal()) == ("", False)


def test_help_loads_nothing_but_typer_and_few_modules() -> None:
    script = (
        "import sys; sys.argv = ['pointsman', '--help']\n"
        "from pointsman.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "import json; print('\\n' + json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])

    assert not [name for name in loaded if name.split(".")[0] in HEAVY]
    assert len(loaded) < 200
    assert [name for name in loaded if name.startswith("pointsman.")] == [
        "pointsman.cli", "pointsman.cli.errors", "pointsman.cli.main",
        "pointsman.cli.signals", "pointsman.cli.streams",
        "pointsman.configs", "pointsman.configs.process", "pointsman.configs.process.lazy",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_folder_that_is_gone_is_told_in_one_line(programs: Any, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    code = (
        "import os, sys; os.rmdir(os.getcwd()); sys.argv[0] = 'pointsman'; from pointsman.cli.main import main; main()"
    )
    for words in (["runs"], ["run", "flow.py:flow", "go"], ["resume", "any"]):
        (tmp_path / "gone").mkdir(exist_ok=True)
        ended = programs.run(["-c", code, *words], cwd=tmp_path / "gone")
        told = "error: the current folder is gone: change into one that is there, such as with: cd\n"
        assert (ended.returncode, ended.stderr) == (ExitCode.USAGE, told)


@pytest.mark.slow
def test_every_command_of_the_help_can_be_loaded_and_explains_itself(runner: CliRunner) -> None:
    listed = runner.invoke(cli.app, ["--help"]).stdout
    for name, (_, said) in cli.COMMANDS.items():
        assert f"  {name} " in listed
        assert said in listed
        own = runner.invoke(cli.app, [name, "--help"])
        assert own.exit_code == 0, name
        assert f"pointsman {name}" in own.stdout


def _commands(command: Any, context: Any) -> Iterator[tuple[Any, Any]]:
    yield command, context
    for name in getattr(command, "list_commands", lambda _: ())(context):
        inner = command.get_command(context, name)
        yield from _commands(inner, type(context)(inner, info_name=name, parent=context))


def test_no_help_of_any_command_shows_a_type_of_python_and_every_value_has_a_name_in_capitals() -> None:
    root: Any = typer.main.get_command(cli.app)
    seen = 0
    for command, context in _commands(root, root.make_context("pointsman", [], resilient_parsing=True)):
        seen += 1
        said = command.get_help(context)
        assert not re.findall(r"<\w[^>]*>|\b(?:str|int|float|bool|list|tuple|Path|None)\[", said), context.command_path
        assert not re.findall(r"^  (?:-\w, )?--[\w-]+ (?:str|int|float|path|text)\b", said, re.M), context.command_path
    assert seen > 40


def test_the_bare_command_prints_its_help(runner: CliRunner) -> None:
    assert runner.invoke(cli.app, []).stdout == runner.invoke(cli.app, ["--help"]).stdout


def test_the_version_is_that_of_the_distribution(runner: CliRunner) -> None:
    from importlib.metadata import version

    assert runner.invoke(cli.app, ["--version"]).stdout == f"pointsman {version('pointsman')}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'"),
        (["run", "--jbos", "3"], "No such option"),
        (["run", "--jobs", "none"], "--jobs"),
        (["run", "a.py:flow", "x", "--approval", "maybe"], "--approval"),
        (["memory"], "Missing command"),
    ],
)
def test_a_misuse_is_one_line_on_stderr_and_code_2(runner: CliRunner, words: list[str], said: str) -> None:
    ended = runner.invoke(cli.app, words)

    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_an_unforeseen_error_is_one_line_and_its_traceback_is_kept_for_debug() -> None:
    code, said = judge(RuntimeError("the\nmoon fell"))

    assert code is ExitCode.FAILED
    assert said.startswith("internal error: RuntimeError: the")
    assert "--debug" in said


def test_errors_end_with_the_code_of_their_family() -> None:
    from pointsman.backends.base import BackendError
    from pointsman.configs.words import FailureKind
    from pointsman.tools.base import ToolFailed

    assert judge(ConfigError("mend it", file="a.yaml", line=3)) == (ExitCode.USAGE, "a.yaml:3: mend it")
    assert judge(BackendError(FailureKind.OVERLOADED, "busy"))[0] is ExitCode.FAILED
    assert judge(ToolFailed("no"))[0] is ExitCode.FAILED
    assert judge(TimeoutError())[0] is ExitCode.FAILED
    assert judge(KeyboardInterrupt()) == (ExitCode.INTERRUPTED, "interrupted")
    assert judge(ExceptionGroup("two", [ConfigError("first"), ValueError("second")])) == (ExitCode.USAGE, "first")


def test_what_looks_like_a_key_does_not_reach_the_terminal() -> None:
    assert "sk-ant-abcdefgh1234" not in judge(RuntimeError("denied for sk-ant-abcdefgh1234"))[1]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("desk.py:flow", True), ("pack.mod:flow", True), ("my desk.py:flow", True), ("desk.py", True),
        ("My card was stolen", False), ("note: call me back", False), ("-", False), ("@message.txt", False),
    ],
)  # fmt: skip
def test_a_target_is_told_from_an_input(text: str, target: bool) -> None:
    assert looks_like_target(text) is target


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"), (b"  \n ", "is empty"), (b"\xff\xfe\x00", "not UTF-8"), (b"GIF\x00", "binary"),
        (b"x" * 101, "larger than 100 bytes"),
    ],
)  # fmt: skip
def test_an_input_that_cannot_be_used_is_refused_with_what_to_do(tmp_path: Path, data: bytes, said: str) -> None:
    file = tmp_path / "input"
    file.write_bytes(data)

    with pytest.raises(ConfigError, match=said):
        read_input(f"@{file}", limit=100)


def test_an_input_may_come_from_a_stream_of_text_that_a_caller_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Grüße"))
    assert read_input("-") == "Grüße"
    monkeypatch.setattr(sys, "stdin", io.StringIO("Grüße"))
    assert read_piped() == "Grüße"
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"a": "é"}\n\n{}'))
    assert list(lines_of("-")) == [(1, '{"a": "é"}\n'.encode()), (3, b"{}")]


def test_an_input_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing.txt: cannot be read: No such file"):
        read_input(f"@{tmp_path / 'nothing.txt'}")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("label\nx\n", 1, "no column 'text'"),
        ("text,label\n", None, "holds no rows"),
        ("text,label\nhello,a\nfine, thanks,b\n", 3, "put text with commas in quotes"),
        ("text,label\nhello,a\n ,b\n", 3, "the text is empty"),
        ('text,label\nhello,a\n"never closed,b\n', 3, "not a CSV"),
    ],
)
def test_a_broken_csv_is_refused_with_its_line(tmp_path: Path, text: str, line: int | None, said: str) -> None:
    file = tmp_path / "messages.csv"
    file.write_text(text)

    with pytest.raises(ConfigError, match=said) as refused:
        read_messages(file)
    assert refused.value.line == line


def test_a_csv_keeps_line_breaks_in_quotes_and_the_line_each_row_begins_on(tmp_path: Path) -> None:
    file = tmp_path / "messages.csv"
    file.write_bytes(b'\xef\xbb\xbftext,label\r\n"two\r\nlines",a\r\nlast,\r\n')

    rows = [(row.line, row.text, row.label) for row in read_messages(file)]
    assert rows == [(2, "two\r\nlines", "a"), (4, "last", None)]


@given(st.text())
def test_no_text_can_move_the_cursor_or_turn_the_reading_direction(text: str) -> None:
    import unicodedata

    shown = visible(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t\u200d"]
    assert "\n" not in line(text)


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), min_size=1))
def test_a_table_has_a_line_for_each_row(rows: list[tuple[str, str]]) -> None:
    assert len(table(rows, ("one", "two")).split("\n")) == len(rows) + 1


def test_an_unknown_price_is_never_shown_as_zero() -> None:
    assert money(None) == "unknown"
    assert money(0) == "$0.0000"
    assert money(1) == "<$0.000001"
    assert money(25 * 10**10) == "$0.2500"


def test_a_drawing_holds_every_node_and_lists_what_leads_back() -> None:
    edges = [("a", "b", True), ("a", "c", True), ("b", "d", False), ("c", "d", False), ("d", "a", False)]
    text = draw(["a", "b", "c", "d"], edges)

    assert [text.count(f"| {name} |") for name in "abcd"] == [1, 1, 1, 1]
    assert text.endswith("back again:\n  d --> a")
    assert text.isascii()


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_any_graph_can_be_drawn(pairs: set[tuple[int, int]]) -> None:
    nodes = [f"n{i}" for i in range(8)]
    text = draw(nodes, [(f"n{a}", f"n{b}", a % 2 == 0) for a, b in pairs])
    assert all(text.count(f"| {node} |") == 1 for node in nodes)
