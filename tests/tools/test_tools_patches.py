"""Patches as models write them: applied where it is plain what they mean, and else answered so that the next one is."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs.errors import ConfigError
from pointsman.tools import Preview, ToolFailed, Workspace, call_facts, declaration_of, file_tools
from pointsman.tools.files.changes import Change, kept_by
from pointsman.tools.files.diffs import unified
from pointsman.tools.files.patches import patched, read_patch

Call = Callable[..., str]
BEFORE = "def total(items):\n    sum = 0\n    for item in items:\n        sum += item\n    return sum\n"
PATCH = """\
--- a/shop.py
+++ b/shop.py
@@ -1,5 +1,5 @@
 def total(items):
-    sum = 0
+    sum = 1
     for item in items:
         sum += item
     return sum
"""
AFTER = BEFORE.replace("= 0", "= 1")


@pytest.fixture
def call(tmp_path: Path) -> Call:
    tool = next(tool for tool in file_tools(Workspace(tmp_path)) if tool.name == "apply_patch")

    def run(patch: str) -> str:
        return str(tool.invoke({"patch": patch}))

    return run


@given(st.text("ab\n \r\x0c\u2028"), st.text("ab\n \r\x0c\u2028"))
def test_a_diff_of_two_texts_makes_the_one_of_the_other(before: str, after: str) -> None:
    before, after = (text.replace("\r", "") for text in (before, after))
    diff = unified("x", before, after)
    if not diff:
        return
    (patch,) = read_patch(diff)
    assert patched(patch, before) == after


def test_what_is_put_before_a_file_of_one_empty_line_comes_to_stand_there() -> None:
    (patch,) = read_patch(unified("x", "\n", "a\n\n"))
    assert patched(patch, "\n") == "a\n\n"
    (patch,) = read_patch("--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n one\n\n-two\n+2\n\n\n")
    assert patched(patch, "one\n\ntwo\n") == "one\n\n2\n"


def test_a_patch_changes_and_makes_several_files(tmp_path: Path, call: Call) -> None:
    (tmp_path / "shop.py").write_text(BEFORE)
    told = call(f"diff --git a/shop.py b/shop.py\nindex 1..2 100644\n{PATCH}--- /dev/null\n+++ b/new/a.txt\n@@\n+one\n")
    assert "-    sum = 0\n+    sum = 1" in told
    assert (tmp_path / "shop.py").read_text() == AFTER
    assert (tmp_path / "new" / "a.txt").read_text() == "one\n"


@pytest.mark.parametrize(
    ("name", "patch"),
    [
        ("counts that are wrong", PATCH.replace("-1,5 +1,5", "-1,9 +1,2")),
        ("a place that is wrong", PATCH.replace("-1,5", "-71,5")),
        ("no numbers at all", PATCH.replace("@@ -1,5 +1,5 @@", "@@")),
        ("no prefixes, and a time", PATCH.replace("a/shop.py", "shop.py\t2026-01-01").replace("b/shop", "shop")),
        ("ends of lines of another system", PATCH.replace("\n", "\r\n").replace(".py\r", ".py").replace("@@\r", "@@")),
        ("an empty line at its end", PATCH + "\n\n"),
    ],
)
def test_what_models_get_wrong_and_is_plain_all_the_same_is_taken(
    tmp_path: Path, call: Call, name: str, patch: str
) -> None:
    (tmp_path / "shop.py").write_text(BEFORE)
    call(patch)
    assert (tmp_path / "shop.py").read_text() == AFTER, name


def test_a_file_keeps_its_ends_of_lines(tmp_path: Path, call: Call) -> None:
    (tmp_path / "shop.py").write_bytes(BEFORE.replace("\n", "\r\n").encode())
    call(PATCH)
    assert (tmp_path / "shop.py").read_bytes() == AFTER.replace("\n", "\r\n").encode()


def test_a_patch_that_does_not_apply_is_told_what_stands_there(tmp_path: Path, call: Call) -> None:
    (tmp_path / "shop.py").write_text("import os\n\n" + BEFORE.replace("items)", "basket)"))
    told = call(PATCH)
    assert "hunk 1 of shop.py does not apply, and nothing was changed" in told
    assert "3: def total(basket):\n4:     sum = 0" in told
    assert "It expects 'def total(items):' at line 3." in told
    (tmp_path / "shop.py").write_text(AFTER)
    assert "already reads as the patch would have it" in call(PATCH)
    (tmp_path / "shop.py").write_text("nothing\n")
    assert "no line of the file is like those it expects" in call(PATCH)
    assert (tmp_path / "shop.py").read_text() == "nothing\n"


def test_what_is_not_certain_is_refused(tmp_path: Path, call: Call) -> None:
    (tmp_path / "shop.py").write_text("a = 1\nb = 2\na = 1\n")
    patch = "--- a/shop.py\n+++ b/shop.py\n@@\n-a = 1\n+a = 3\n"
    assert "fits in 2 places, lines 1, 3" in call(patch)
    call(patch.replace("@@", "@@ -3,1 +3,1 @@"))
    assert (tmp_path / "shop.py").read_text() == "a = 1\nb = 2\na = 3\n"
    assert "has no line to tell its place by" in call("--- a/shop.py\n+++ b/shop.py\n@@\n+c = 3\n")
    assert "changes nothing" in call("--- a/shop.py\n+++ b/shop.py\n@@\n a = 1\n")
    assert "begins with neither" in call("--- a/shop.py\n+++ b/shop.py\n@@\nb = 2\n")
    assert "is no unified diff" in call("*** Begin Patch\nshop.py")
    assert "deletes no file" in call("--- a/shop.py\n+++ /dev/null\n@@\n-a = 1\n")
    assert "renames no file" in call("--- a/shop.py\n+++ b/desk.py\n@@\n-a = 1\n+a = 2\n")
    assert "is not understood" in call("diff --git a/x b/y\nrename from x\nrename to y\n")
    assert "exists already" in call("--- /dev/null\n+++ b/shop.py\n@@\n+a = 1\n")
    assert "does not exist" in call("--- a/no.py\n+++ b/no.py\n@@\n-a = 1\n+a = 2\n")
    assert "stands in the patch twice" in call(patch + patch)
    assert "leads out of the workspace" in call(patch.replace("shop", "../shop"))
    above = "--- a/shop.py\n+++ b/shop.py\n@@\n-b = 2\n+b = 3\n@@ -1,1 +1,1 @@\n-a = 1\n+a = 4\n"
    told = call(above.replace("-1,1", "-9,1").replace("a = 1\n+a = 4", "b = 2\n+b = 4"))
    assert "hunk 2 of shop.py applies at line 2, which the hunk before it reaches or leaves behind" in told
    assert (tmp_path / "shop.py").read_text() == "a = 1\nb = 2\na = 3\n"


def test_a_file_under_two_names_is_one_file(tmp_path: Path, call: Call) -> None:
    (tmp_path / "shop.py").write_text("a = 1\nb = 2\n")
    for name in ("./shop.py", "x/../shop.py", ".//shop.py"):
        first = "--- a/shop.py\n+++ b/shop.py\n@@\n-a = 1\n+a = 3\n"
        assert "stands in the patch twice" in call(f"{first}--- a/{name}\n+++ b/{name}\n@@\n-b = 2\n+b = 4\n")
    assert (tmp_path / "shop.py").read_text() == "a = 1\nb = 2\n"


@pytest.mark.parametrize("name", ["é.py", 'two "quotes".py', "a\\b.py"])
def test_a_name_that_git_has_quoted_is_understood(tmp_path: Path, call: Call, name: str) -> None:
    (tmp_path / name).write_text("one\n")
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("é", "\\303\\251")
    call(f'--- "a/{quoted}"\n+++ "b/{quoted}"\n@@\n-one\n+two\n')
    assert (tmp_path / name).read_text() == "two\n"


def test_a_mark_before_a_text_is_no_hindrance_and_stays(tmp_path: Path, call: Call) -> None:
    (tmp_path / "shop.py").write_text("\ufeffa = 1\nb = 2\n")
    call("--- a/shop.py\n+++ b/shop.py\n@@\n-a = 1\n+a = 3\n b = 2\n")
    assert (tmp_path / "shop.py").read_text() == "\ufeffa = 3\nb = 2\n"
    call("--- a/shop.py\n+++ b/shop.py\n@@\n-\ufeffa = 3\n+a = 3\n b = 2\n")
    assert (tmp_path / "shop.py").read_text() == "a = 3\nb = 2\n"


def test_a_patch_says_whether_a_file_may_be_run(tmp_path: Path, call: Call) -> None:
    (tmp_path / "old.sh").write_text("one\n")
    (tmp_path / "old.sh").chmod(0o640)
    (tmp_path / "both.sh").write_text("one\n")
    (tmp_path / "both.sh").chmod(0o755)
    patch = (
        "diff --git a/new/run.sh b/new/run.sh\nnew file mode 100755\nindex 0000000..1\n"
        "--- /dev/null\n+++ b/new/run.sh\n@@ -0,0 +1 @@\n+echo\n"
        "diff --git a/old.sh b/old.sh\nold mode 100644\nnew mode 100755\n"
        "diff --git a/both.sh b/both.sh\nold mode 100755\nnew mode 100644\nindex 1..2\n"
        "--- a/both.sh\n+++ b/both.sh\n@@ -1 +1 @@\n-one\n+two\n"
        "diff --git a/new/__init__.py b/new/__init__.py\nnew file mode 100644\nindex 0000000..e69de29\n"
        "diff --git a/with space b/with space\nnew file mode 100644\nindex 0000000..e69de29\n"
    )
    told = call(patch)
    umask = os.umask(0)
    os.umask(umask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {
        "run.sh": 0o777 & ~umask, "old.sh": 0o750, "both.sh": 0o644,
        "__init__.py": 0o666 & ~umask, "with space": 0o666 & ~umask,
    }  # fmt: skip
    assert (tmp_path / "both.sh").read_text() == "two\n"
    assert "new file mode 100755\n--- /dev/null\n+++ b/new/run.sh\n" in told
    assert "diff --git a/old.sh b/old.sh\nold mode 100640\nnew mode 100750\n" in told
    assert "old mode 100755\nnew mode 100644\n--- a/both.sh" in told


def test_a_person_sees_that_a_file_may_be_run(tmp_path: Path) -> None:
    tool = next(tool for tool in file_tools(Workspace(tmp_path)) if tool.name == "apply_patch")
    declared: Any = declaration_of(tool)
    patch = "diff --git a/x b/x\nnew file mode 100755\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+echo\n"
    assert "new file mode 100755" in declared.preview({"patch": patch}).diff


@pytest.mark.parametrize("mode", ["120000", "160000", "040000"])
def test_a_link_in_a_patch_is_refused_and_not_made_a_file(tmp_path: Path, call: Call, mode: str) -> None:
    patch = f"diff --git a/x b/x\nnew file mode {mode}\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+/etc\n"
    assert f"'new file mode {mode}' is not understood" in call(patch)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_not_deleted_by_a_patch(tmp_path: Path, call: Call) -> None:
    (tmp_path / "x").touch()
    assert "deletes no file" in call("diff --git a/x b/x\ndeleted file mode 100644\nindex e69de29..0000000\n")
    assert (tmp_path / "x").exists()


def test_modes_are_put_back_where_the_rest_cannot_be_written(tmp_path: Path, call: Call) -> None:
    (tmp_path / "x").write_text("one\n")
    (tmp_path / "x").chmod(0o644)
    mode = "diff --git a/x b/x\nold mode 100644\nnew mode 100755\n"
    assert "is not a folder" in call(f"{mode}--- /dev/null\n+++ b/x/y\n@@\n+two\n")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


def test_all_of_it_is_applied_or_nothing(tmp_path: Path, call: Call) -> None:
    (tmp_path / "shop.py").write_text(BEFORE)
    for second in ("--- a/no.py\n+++ b/no.py\n@@\n-x\n+y\n", "--- /dev/null\n+++ b/.github/x.yml\n@@\n+x\n"):
        call(PATCH + second)
        assert (tmp_path / "shop.py").read_text() == BEFORE
        assert list(tmp_path.iterdir()) == [tmp_path / "shop.py"]


def test_what_is_written_already_is_put_back_where_the_rest_cannot_be(tmp_path: Path, call: Call) -> None:
    (tmp_path / "shop.py").write_text(BEFORE)
    (tmp_path / "shop.py").chmod(0o640)
    clash = "--- /dev/null\n+++ b/x\n@@\n+one\n--- /dev/null\n+++ b/x/y\n@@\n+two\n"
    assert "leads through something that is not a folder" in call(PATCH + clash)
    assert (tmp_path / "shop.py").read_text() == BEFORE
    assert (tmp_path / "shop.py").stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [tmp_path / "shop.py"]


def test_no_folder_stays_that_was_made_for_files_that_are_put_back_or_could_not_be_written(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    rename = os.rename

    def renamed(old: str, new: str, **where: Any) -> None:
        if new == "last":
            raise OSError(errno.ENOSPC, "full")
        rename(old, new, **where)

    monkeypatch.setattr(os, "rename", renamed)
    names = ("there/a/b/x", "there/a/b/y", "there/a/c/z", "made/deep/last")
    told = call("".join(f"--- /dev/null\n+++ b/{name}\n@@\n+one\n" for name in names))
    assert "'made/deep/last' cannot be written: the disk is full" in told
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]
    with pytest.raises(ToolFailed, match="the disk is full"):
        Workspace(tmp_path).replace("there/new/last", b"one")
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def _change(*names: str) -> str:
    return "".join(f"--- a/{name}\n+++ b/{name}\n@@\n-one\n+two\n" for name in names)


def test_where_a_file_cannot_be_put_back_the_others_are_and_it_is_named(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcd":
        (tmp_path / name).write_text("one\n")
    # The disk is full from the fourth file on, but for what frees room.
    tries, rename = Counter[str](), os.rename

    def renamed(old: str, new: str, **where: Any) -> None:
        tries[new] += 1
        if new == "d" or (new == "b" and tries[new] > 1):
            raise OSError(errno.ENOSPC, "full")
        rename(old, new, **where)

    monkeypatch.setattr(os, "rename", renamed)
    told = call(_change("a", "b", "c", "d"))
    assert "'d' cannot be written: the disk is full" in told
    assert "not put back, and so still as the patch has it: 'b' cannot be written: the disk is full" in told
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a": "one\n", "b": "two\n", "c": "one\n", "d": "one\n",
    }  # fmt: skip


def test_files_are_put_back_also_where_the_next_cannot_be_kept(tmp_path: Path, call: Call) -> None:
    for name in "ab":
        (tmp_path / name).write_text("one\n")
    kept: list[str] = []

    def keep(change: Change) -> None:
        kept.append(change.path)
        if change.path == "b":
            raise ConfigError("no room")

    with kept_by(keep), pytest.raises(ConfigError, match="no room"):
        call(_change("a", "b"))
    assert (tmp_path / "a").read_text() == "one\n"
    assert kept == ["a", "b", "a"]
    kept.clear()

    def keep_no_more(change: Change) -> None:
        kept.append(change.path)
        if len(kept) > 1:
            raise ConfigError("no room")

    with kept_by(keep_no_more), pytest.raises(ConfigError, match=r"no room; not put back.*: no room"):
        call(_change("a", "b"))


def test_a_person_sees_what_a_patch_would_change(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(BEFORE)
    tool = next(tool for tool in file_tools(Workspace(tmp_path)) if tool.name == "apply_patch")
    assert call_facts(tool, {"patch": PATCH}).effect == "write"
    declared: Any = declaration_of(tool)
    shown: Preview = declared.preview({"patch": PATCH})
    assert "+    sum = 1" in shown.diff
    assert set(shown.files) == {"shop.py"}
    assert "it would fail: " in declared.preview({"patch": "?"}).diff
    assert (tmp_path / "shop.py").read_text() == BEFORE
