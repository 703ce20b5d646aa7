"""The file tools as a model uses them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.configs.words import Effect
from pointsman.tools import ToolFailed, Workspace, call_facts, effect_of, file_tools
from pointsman.tools.files import diffs, files
from pointsman.tools.files.search import Matcher, OutOfTime

Call = Callable[..., str]


@pytest.fixture
def call(tmp_path: Path) -> Call:
    tools = {tool.name: tool for tool in file_tools(Workspace(tmp_path))}

    def run(name: str, **arguments: Any) -> str:
        return str(tools[name].invoke(arguments))

    return run


def test_effects_and_targets_are_declared(tmp_path: Path) -> None:
    tools = {tool.name: tool for tool in file_tools(Workspace(tmp_path))}
    assert {name: effect_of(tool) for name, tool in tools.items()} == {
        "read_file": Effect.READ,
        "write_file": Effect.WRITE,
        "edit_file": Effect.WRITE,
        "apply_patch": Effect.WRITE,
        "list_files": Effect.READ,
        "search_files": Effect.READ,
    }
    assert call_facts(tools["write_file"], {"path": "a.txt", "content": ""}).target == "a.txt"


def test_a_file_is_read_whole_or_by_lines(tmp_path: Path, call: Call) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\nthree")
    assert call("read_file", path="a.txt") == "one\ntwo\nthree"
    assert call("read_file", path="a.txt", first_line=2, line_count=1) == (
        "two\n[more follows: read on with first_line=3]"
    )
    assert call("read_file", path="a.txt", first_line=3) == "three"
    assert "ends before line 4" in call("read_file", path="a.txt", first_line=4)
    (tmp_path / "empty").touch()
    assert call("read_file", path="empty") == "[the file is empty]"


def test_reading_stops_at_a_megabyte_and_says_how_to_go_on(tmp_path: Path, call: Call) -> None:
    (tmp_path / "long.txt").write_text(("x" * 99 + "\n") * 20_000)
    text = call("read_file", path="long.txt", line_count=20_000)
    assert len(text) < 1_000_100
    assert text.endswith("[cut at 1 MB: read on with first_line=10001]")
    (tmp_path / "line.txt").write_text("é" * 1_000_000)
    text = call("read_file", path="line.txt")
    assert text.endswith("é\n[line 1 is longer than 1 MB: the rest of it is left out]")


def test_a_cut_inside_a_character_is_no_error(tmp_path: Path, call: Call) -> None:
    (tmp_path / "line.txt").write_text("a" + "é" * 1_000_000)
    assert "the rest of it is left out" in call("read_file", path="line.txt")


@pytest.mark.parametrize("content", [b"GIF\0\1", "utf-16 text".encode("utf-16"), b"caf\xe9 au lait"])
def test_what_is_no_text_gives_one_line(tmp_path: Path, call: Call, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    for answer in (call("read_file", path="x"), call("edit_file", path="x", old="a", new="b")):
        assert answer.startswith("'x' is ")
        assert "\n" not in answer


def test_writing_returns_a_unified_diff(tmp_path: Path, call: Call) -> None:
    assert call("write_file", path="new/deep/a.txt", content="one\n") == (
        "--- /dev/null\n+++ b/new/deep/a.txt\n@@ -0,0 +1 @@\n+one\n"
    )
    assert call("write_file", path="new/deep/a.txt", content="two") == (
        "--- a/new/deep/a.txt\n+++ b/new/deep/a.txt\n@@ -1 +1 @@\n-one\n+two\n\\ No newline at end of file\n"
    )
    assert "nothing changed" in call("write_file", path="new/deep/a.txt", content="two")
    assert (tmp_path / "new" / "deep" / "a.txt").read_text() == "two"


def test_an_empty_file_that_is_made_is_not_told_as_nothing(tmp_path: Path, call: Call) -> None:
    assert call("write_file", path="new/__init__.py", content="") == "'new/__init__.py' is there, and is empty"
    assert (tmp_path / "new" / "__init__.py").read_bytes() == b""


def test_a_long_or_binary_file_is_replaced_without_a_diff(tmp_path: Path, call: Call) -> None:
    (tmp_path / "bin").write_bytes(b"\0\xff")
    assert "in place of what was too long or no text" in call("write_file", path="bin", content="x")
    (tmp_path / "long").write_text("a\n" * 5_000)
    assert "too long for a diff" in call("write_file", path="long", content="b\n")


def test_the_longest_diff_ends_and_is_cut(tmp_path: Path, call: Call) -> None:
    half = diffs._LINES // 2
    (tmp_path / "a").write_text("".join(f"{i}\n" for i in range(half)))
    text = call("write_file", path="a", content="".join(f"{i}\n" for i in reversed(range(half))))
    assert text.endswith("[the diff is cut at 20,000 characters]")


def test_too_much_to_write_is_refused(tmp_path: Path, call: Call) -> None:
    assert "the limit is 5,000,000" in call("write_file", path="a", content="x" * 5_000_001)
    assert not (tmp_path / "a").exists()
    (tmp_path / "b").write_bytes(b"x" * 5_000_001)
    assert "is larger than" in call("edit_file", path="b", old="x", new="y")


def test_an_edit_replaces_exactly_one_place(tmp_path: Path, call: Call) -> None:
    (tmp_path / "a.py").write_text("x = 1\ny = 1\n")
    assert "occurs 2 times" in call("edit_file", path="a.py", old="1", new="2")
    assert "does not occur" in call("edit_file", path="a.py", old="x  = 1", new="2")
    (tmp_path / "b.py").write_text("x\n\n\ny\n")
    assert "occurs 2 times" in call("edit_file", path="b.py", old="\n\n", new="\nz\n")
    assert (tmp_path / "b.py").read_text() == "x\n\n\ny\n"
    assert "is empty" in call("edit_file", path="a.py", old="", new="2")
    assert "is the same" in call("edit_file", path="a.py", old="1", new="1")
    assert (tmp_path / "a.py").read_text() == "x = 1\ny = 1\n"
    assert "-x = 1\n+x = 2" in call("edit_file", path="a.py", old="x = 1", new="x = 2")
    call("edit_file", path="a.py", old=" = ", new="=", everywhere=True)
    assert (tmp_path / "a.py").read_text() == "x=2\ny=1\n"


def test_line_ends_are_kept_and_named_when_they_are_why_nothing_matches(tmp_path: Path, call: Call) -> None:
    (tmp_path / "dos.txt").write_bytes(b"a\r\nb\r\nc\r\n")
    call("edit_file", path="dos.txt", old="b", new="B\nb")
    assert (tmp_path / "dos.txt").read_bytes() == b"a\r\nB\r\nb\r\nc\r\n"
    call("edit_file", path="dos.txt", old="B\nb\n", new="b\n")
    call("edit_file", path="dos.txt", old="b\r\nc", new="b\nC")
    assert (tmp_path / "dos.txt").read_bytes() == b"a\r\nb\r\nC\r\n"
    assert "\n+new\r\n" in call("write_file", path="dos.txt", content="a\nnew\n")
    assert (tmp_path / "dos.txt").read_bytes() == b"a\r\nnew\r\n"
    (tmp_path / "mixed.txt").write_bytes(b"a\r\nb\r\nc\n")
    assert "end in CRLF" in call("edit_file", path="mixed.txt", old="a\nb", new="x")
    call("edit_file", path="mixed.txt", old="c", new="c\nd")
    assert (tmp_path / "mixed.txt").read_bytes() == b"a\r\nb\r\nc\nd\n"


def test_edits_of_one_turn_do_not_lose_each_other(tmp_path: Path, call: Call) -> None:
    count = 24
    (tmp_path / "a").write_text("".join(f"<{i}>\n" for i in range(count)))
    ready = threading.Barrier(8)

    def edit(number: int) -> str:
        if number < 8:
            ready.wait()
        return call("edit_file", path="a", old=f"<{number}>", new=f"done {number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(edit, range(count)))
    assert (tmp_path / "a").read_text() == "".join(f"done {i}\n" for i in range(count))


def test_a_protected_file_is_told_to_the_model_and_can_still_be_read(tmp_path: Path, call: Call) -> None:
    (tmp_path / "models.yaml").write_text("models: {}\n")
    assert "is protected" in call("write_file", path="models.yaml", content="")
    assert "is protected" in call("edit_file", path="models.yaml", old="models", new="x")
    assert call("read_file", path="models.yaml") == "models: {}\n"


def test_files_are_listed_by_folder_and_glob(tmp_path: Path, call: Call) -> None:
    for name in ("a.py", "b.txt", "src/c.py", "src/deep/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("/etc")
    assert call("list_files") == "a.py\nb.txt\nlink (link, not followed)\nsrc/\nsrc/c.py\nsrc/deep/\nsrc/deep/d.py"
    assert call("list_files", glob="*.py") == "a.py\nsrc/c.py\nsrc/deep/d.py"
    assert call("list_files", glob="src/**/*.py") == "src/c.py\nsrc/deep/d.py"
    assert call("list_files", path="src", deep=False) == "src/c.py\nsrc/deep/"
    assert call("list_files", glob="*.rs") == "[nothing found]"


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("*.{py,txt}", "a.py\nb.txt\nsrc/c.py\nsrc/deep/d.py"),
        ("{src/*.py,*.txt}", "b.txt\nsrc/c.py\nsrc/deep/d.py"),
        ("src/{c,deep/{d,e}}.py", "src/c.py\nsrc/deep/d.py"),
        ("./src/*.py", "src/c.py\nsrc/deep/d.py"),
        ("././b.*", "b.txt"),
        ("{./b,src/c}.*", "b.txt\nsrc/c.py"),
        ("{one}", "{one}"),
        ("[{]one}", "{one}"),
        ("b{,x}.txt", "b.txt"),
    ],
)
def test_a_glob_may_have_alternatives_and_begin_at_the_folder_itself(
    tmp_path: Path, call: Call, glob: str, found: str
) -> None:
    for name in ("a.py", "b.txt", "src/c.py", "src/deep/d.py", "{one}"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("needle")
    assert call("list_files", glob=glob) == found
    searched = "\n".join(f"{name}:1: needle" for name in found.split("\n"))
    assert call("search_files", pattern="needle", glob=glob) == searched


@pytest.mark.parametrize("tool", ["list_files", "search_files"])
def test_a_glob_with_too_many_alternatives_is_told_to_the_model(call: Call, tool: str) -> None:
    more = {"pattern": "x"} if tool == "search_files" else {}
    assert "stands for more than 100 patterns" in call(tool, glob="{a,b}" * 40, **more)
    assert call(tool, glob="{a,b}" * 6, **more) == "[nothing found]"


def test_names_that_would_break_a_line_or_utf8_are_escaped(tmp_path: Path, call: Call) -> None:
    (tmp_path / "two\nlines").touch()
    with open(os.fsencode(tmp_path) + b"/caf\xe9", "w") as file:
        file.write("needle")
    assert call("list_files").encode() == b"caf\\udce9\ntwo\\nlines"
    assert call("search_files", pattern="needle").encode() == b"caf\\udce9:1: needle"


def test_a_file_is_opened_by_the_name_by_which_it_is_listed(tmp_path: Path, call: Call) -> None:
    (tmp_path / "two\nlines").write_text("one\n")
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    with open(os.fsencode(tmp_path) + b"/caf\xe9/b", "w") as file:
        file.write("needle")
    for name in call("list_files").splitlines():
        assert "does not exist" not in call("read_file", path=name.removesuffix("/"))
    assert call("search_files", pattern="needle", path="caf\\udce9").startswith("caf\\udce9/b:1: ")
    call("edit_file", path="two\\nlines", old="one", new="two")
    call("apply_patch", patch="--- a/two\\nlines\n+++ b/two\\nlines\n@@ -1 +1 @@\n-two\n+three\n")
    assert (tmp_path / "two\nlines").read_text() == "three\n"


@pytest.mark.parametrize("name", ["two\\nlines", "\\x61", "\\u0061", "a\\d"])
def test_a_name_with_a_backslash_is_that_where_there_is_such_a_file_or_no_other(
    tmp_path: Path, call: Call, name: str
) -> None:
    (tmp_path / "a").write_text("not this\n")
    call("write_file", path=name, content="new\n")
    assert (tmp_path / name).read_text() == "new\n"
    (tmp_path / "two\nlines").write_text("not this\n")
    assert call("read_file", path=name) == "new\n"


def test_a_protected_file_is_protected_however_it_is_written_out(tmp_path: Path, call: Call) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "two\nlines").write_text("")
    assert "is protected" in call("write_file", path=".git/two\\nlines", content="x")


def test_of_lines_too_long_to_be_searched_to_their_ends_it_is_told(tmp_path: Path, call: Call) -> None:
    (tmp_path / "a.js").write_text(f"{'x' * 20_000}needle\nneedle{'x' * 20_000}\n{'x' * 20_000}\n")
    found, note = call("search_files", pattern="needle").splitlines()
    assert found.startswith("a.js:2: needle")
    assert note == "[of 2 lines only the first 10,000 characters were searched]"
    assert "only the first" not in call("search_files", pattern="nothing of it")


def test_a_long_listing_stops(tmp_path: Path, call: Call) -> None:
    for number in range(1_001):
        (tmp_path / f"{number:04}").touch()
    lines = call("list_files").splitlines()
    assert len(lines) == 1_001
    assert lines[-1] == "[there is more: name a folder or a glob]"


def test_a_search_gives_path_line_and_text(tmp_path: Path, call: Call) -> None:
    (tmp_path / "a.py").write_text("import os\r\nx = os.environ\r\n")
    (tmp_path / "b.md").write_text("environ\n")
    (tmp_path / "c.bin").write_bytes(b"environ\0")
    (tmp_path / "link.py").symlink_to(tmp_path / "a.py")
    answer = "a.py:2: x = os.environ\n[1 files passed over: binary, unreadable or larger than 5,000,000 bytes]"
    assert call("search_files", pattern=r"os\.env\w+", glob="*") == answer
    assert call("search_files", pattern="environ", glob="*.md") == "b.md:1: environ"
    assert call("search_files", pattern="absent", glob="*.md") == "[nothing found]"


def test_the_first_line_begins_behind_a_byte_order_mark(tmp_path: Path, call: Call) -> None:
    (tmp_path / "a.cs").write_bytes(b"\xef\xbb\xbfusing System;\r\n")
    assert call("search_files", pattern="^using System;$") == "a.cs:1: using System;"
    assert call("search_files", pattern=r"\ufeff").startswith("a.cs:1: ")


def test_a_search_stops_at_its_limit_and_cuts_long_lines(tmp_path: Path, call: Call) -> None:
    (tmp_path / "many").write_text("hit\n" * 500)
    lines = call("search_files", pattern="hit", glob="many").splitlines()
    assert len(lines) == 201
    assert lines[-1] == "[stopped at 200 matches: narrow the search]"
    (tmp_path / "wide").write_text("a" * 5_000 + "needle" + "b" * 5_000)
    answer = call("search_files", pattern="needle", glob="wide")
    assert "needle" in answer
    assert len(answer) < 400


@pytest.mark.parametrize("pattern", ["(", "*", "a{99999999999}", "(?P<x>a)(?P<x>b)"])
def test_a_wrong_pattern_is_told_to_the_model(call: Call, pattern: str) -> None:
    assert call("search_files", pattern=pattern).startswith("the pattern is not a regular expression: ")


@pytest.mark.slow
def test_a_pattern_that_never_ends_is_ended(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_SEARCH_SECONDS", 0.5)
    (tmp_path / "a").write_text("fine aaa\n")
    (tmp_path / "b").write_text("a" * 64 + "!\n")
    answer = call("search_files", pattern="(a+)+$")
    assert answer.splitlines()[0] == "a:1: fine aaa"
    assert answer.splitlines()[1].startswith("[stopped in 'b': ")


def test_a_text_without_what_every_match_holds_is_not_matched_at_all(tmp_path: Path, call: Call) -> None:
    (tmp_path / "endless").write_text("a" * 64 + "!\n")
    assert call("search_files", pattern="(a+)+ needle$") == "[nothing found]"
    (tmp_path / "there").write_text("aa needle\n")
    assert call("search_files", pattern="(a+)+ needle$") == "there:1: aa needle"


@pytest.mark.parametrize(
    ("pattern", "literal"),
    [
        (r"\bdef load\(", "def load("),
        ("colou?r", "colo"),
        ("retr(y|ies) after", " after"),
        ("(once)?", ""),
        ("maybe|never", ""),
        ("(?i)needle", ""),
        ("(?i:need)le", "le"),
        ("(?!not) this", " this"),
        ("(?x) two  words # one", "twowords"),
        (r"\x41\u00e9bc", "bc"),
        ("[abc]{2,}d+é", ""),
        ("x{0}y{3}", ""),
        (r"Müller$", "ller"),
        ("", ""),
    ],
)
def test_every_match_holds_what_the_matcher_says(pattern: str, literal: str) -> None:
    with Matcher(pattern, seconds=5, limit=1) as matcher:
        assert matcher.literal == literal.encode()

    @settings(max_examples=20, deadline=None)
    @given(st.from_regex(pattern))
    def holds(text: str) -> None:
        assert literal in text

    holds()


@pytest.mark.slow
def test_a_matching_process_does_not_outlive_its_search() -> None:
    with Matcher("(a+)+$", seconds=0.3, limit=1) as matcher:
        process = matcher._process
        with pytest.raises(OutOfTime):
            matcher.find(b"a" * 64 + b"!")
        assert matcher.out_of_time
    assert process.returncode is not None
    with pytest.raises(ToolFailed), Matcher("(", seconds=5, limit=1):
        pass


def test_a_search_ends_in_time_where_its_parent_ignores_and_holds_back_alarms() -> None:
    handler = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        with pytest.raises((OutOfTime, ToolFailed)), Matcher("(a+)+$", seconds=0.1, limit=1) as matcher:
            matcher.find(b"a" * 64 + b"!")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGALRM, handler)


@pytest.mark.slow
def test_what_was_written_is_read_back_exactly(tmp_path: Path) -> None:
    # Made once: that takes longer than all that is done with them.
    tools = {tool.name: tool for tool in file_tools(Workspace(tmp_path))}

    @settings(max_examples=40, deadline=None)
    @given(before=st.text(max_size=60), after=st.text(max_size=60))
    def comes_back(before: str, after: str) -> None:
        for text in (before, after):
            tools["write_file"].invoke({"path": "a", "content": text})
            assert (tmp_path / "a").read_bytes() == text.encode()
        read = tools["read_file"].invoke({"path": "a"})
        if "\0" not in after and after:
            assert read == after

    comes_back()
