"""What a file may be: strict YAML, of a sane size, with a line for everything that is wrong with it."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.configs.errors import ConfigError
from pointsman.configs.loading.documents import MAX_NODES, Node, Place, parse, plain, text_of, wrap
from pointsman.configs.loading.layers import leaves, merge

HERE = Place("project", "configs/models.yaml")


def read(path: Path, place: Place) -> Node | None:
    text = text_of(path, place)
    return None if text is None else parse(text, place)


def values(text: str) -> object:
    node = parse(text, HERE)
    return None if node is None else plain(node)


FILES: list[tuple[bytes, str]] = [
    (b"a:\n\tb: 1\n", "configs/models.yaml:2: a tab stands where YAML wants spaces; indent with spaces"),
    (b"a: b: c\n", "configs/models.yaml:1: is not valid YAML: mapping values are not allowed"),
    (b"a: [1, 2\n", "is not valid YAML"),
    (b"a: 'x\n", "is not valid YAML"),
    (b"\x89PNG\r\n\x1a\n\x00\x00", "configs/models.yaml:1: is not UTF-8 text; save it as UTF-8"),
    (b"a: 1\nb: \x00\x01\n", "configs/models.yaml:2: holds characters that are not text; is it a binary file?"),
    (b"a: 1\nb: caf\xe9\n", "configs/models.yaml:2: is not UTF-8 text; save it as UTF-8"),
    ("a: é".encode("utf-16"), "configs/models.yaml:1: is not UTF-8 text"),
    (b"x" * 10_000_000, "configs/models.yaml: is larger than 1,000,000 bytes; a configuration file is a few kilobytes"),
    (b"[" * 900_000, "configs/models.yaml:1: is nested more than 32 levels deep"),
    (b"{a: " * 40 + b"1" + b"}" * 40, "is nested more than 32 levels deep"),
    (b"".join(b" " * i + b"a:\n" for i in range(40)), "configs/models.yaml:33: is nested more than 32 levels deep"),
    (b"a: 1\nb: 2\na: 3\n", "configs/models.yaml:3: the key 'a' stands twice, first in line 1"),
    (b"x: {a: 1, a: 1}\n", "the key 'a' stands twice"),
    (b"a: 1\n---\nb: 2\n", "configs/models.yaml:2: holds more than one document ('---'); keep one"),
    (b"a: !!python/object/apply:os.system ['true']\n",
     "the tag tag:yaml.org,2002:python/object/apply:os.system is not"),
    (b"a: !thing x\n", "configs/models.yaml:1: the tag !thing is not allowed; write plain YAML"),
    (b"a: !!binary aGVsbG8=\n", "the tag binary is not allowed"),
    (b"a: !!set {x}\n", "is not allowed"),
    (b"a: 2026-13-45\n", "configs/models.yaml:1: '2026-13-45' is not a timestamp; put it in quotes if it is text"),
    (b"a: " + b"9" * 5000 + b"\n", "is not a int"),
    (b"a: .nan\n", "not-a-number is not a value"),
    (b"a: 010\n", "configs/models.yaml:1: 010 is read as the octal number 8; write it without the leading zero"),
    (b"a: [1, -0_17]\n", "-0_17 is read as the octal number -15"),
    (b"no: 1\n", "the key no is read as a truth value; put it in quotes"),
    (b"1: 1\n", "the key 1 is read as a number; put it in quotes"),
    (b"2026-01-01: 1\n", "the key 2026-01-01 is read as a date"),
    (b"~: 1\n", "the key ~ is read as a null"),
    (b"? [a]\n: 1\n", "a key must be plain text"),
    (b"a: *b\n", "configs/models.yaml:1: '*b' names no anchor above it"),
    (b"a: &a [*a]\n", "'*a' names no anchor above it"),
    (b"a:\n  <<: 3\n", "'<<' takes a mapping"),
    (b"a: %x\n", "is not valid YAML"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "says"), FILES, ids=[says[-50:] for _, says in FILES])
def test_a_file_that_is_no_configuration_is_told_in_one_line(data: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read(file, HERE)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# only a comment\n", b"---\n", b"null\n", b"\xef\xbb\xbf"])
def test_an_empty_file_says_nothing(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_bytes(data)
    assert read(file, HERE) is None
    assert read(tmp_path / "none.yaml", HERE) is None
    assert read(file / "below", HERE) is None


def test_what_is_not_a_file_is_told_and_nothing_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, says in [
        ("pipe", "is not a regular file"),
        ("folder", "cannot be read: Is a directory"),
        ("dangling", "is a link to a file that does not exist"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
    ]:
        with pytest.raises(ConfigError, match=says):
            read(tmp_path / name, HERE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("a: 1")
    file.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        read(file, HERE)


def test_brackets_that_end_the_process_in_an_older_libyaml_are_refused_here() -> None:
    bomb = "'[' * 900_000 + ']' * 900_000"
    here = f"from pointsman.configs.loading.documents import Place, parse; parse({bomb}, Place('project', 'x'))"
    done = subprocess.run([sys.executable, "-c", here], capture_output=True, text=True)
    assert done.returncode == 1
    assert "nested more than 32 levels deep" in done.stderr


def test_aliases_stand_for_what_they_name() -> None:
    text = "base: &b {x: 1, y: [2, 3]}\nuse: *b\nmore:\n  <<: *b\n  x: 4\n"
    assert values(text) == yaml.safe_load(text)


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(ConfigError, match=f"more than {MAX_NODES:,} values"):
        values("\n".join(lines))
    chain = ["a0: &a0 [x]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 200))]
    with pytest.raises(ConfigError, match="nested more than 32 levels deep"):
        values("\n".join(chain))


def test_values_have_the_types_of_safe_load_and_places_of_their_keys() -> None:
    text = "a: 2026-11-21\nb: [1, 2.5, yes, null, 'no', 0x10]\nc:\n  d: >-\n    folded\n    text\n  e: ${X}\n"
    node = parse(text, HERE)
    assert node is not None
    assert plain(node) == yaml.safe_load(text)
    assert node.value["a"].value == date(2026, 11, 21)
    assert {key: child.place.line for key, child in node.value["c"].value.items()} == {"d": 4, "e": 7}
    assert node.value["c"].value["e"].place.origin == "configs/models.yaml:7"


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.dates() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_whatever_yaml_can_write_is_read_back_as_safe_load_reads_it(tree: object) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True)
    assert values(text) == yaml.safe_load(text)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"%@`#?, \n\t<"), max_size=60))
def test_any_text_is_read_like_safe_load_or_refused_in_one_line(text: str) -> None:
    told, ours = "", None
    try:
        ours = values(text)
    except ConfigError as error:
        told = str(error)
    assert "\n" not in told
    # libyaml and PyYAML's own parser differ in corners; compare with the one that is in use.
    assert told or ours == yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


MAPPINGS = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda children: st.dictionaries(st.sampled_from("abcd"), children, max_size=3),
    max_leaves=12,
).filter(lambda tree: isinstance(tree, dict))


@given(MAPPINGS, MAPPINGS, MAPPINGS)
def test_merging_lets_the_higher_win_keeps_the_rest_and_changes_neither(low: dict, mid: dict, high: dict) -> None:
    a, b, c = (wrap(tree, Place("flag", name)) for tree, name in ((low, "low"), (mid, "mid"), (high, "high")))
    merged = merge(merge(a, b), c)
    assert (plain(a), plain(b), plain(c)) == (low, mid, high)
    assert plain(merge(merged, c)) == plain(merged)
    assert plain(merge(a, Node({}, HERE))) == low
    for path, place in leaves(c):
        node = merged
        for key in path:
            node = node.value[key]
        if node.value != {}:
            assert node.place.name in ("high", *(("mid", "low") if isinstance(node.value, dict) else ()))
        assert place.name == "high"
