"""Learned heads on disk: whatever happens to the file or the disk, the right head decides and nothing fails."""

import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pointsman.backends.ondevice.arrayfile import read_arrays, write_arrays
from pointsman.backends.ondevice.classify import Head, load_head
from pointsman.backends.ondevice.embedder import WordLlamaEmbeddings

EMBEDDER = WordLlamaEmbeddings()
PARCELS = [
    ("where is my parcel", "delivery"),
    ("the parcel has not come", "delivery"),
    ("when will my order arrive", "delivery"),
    ("I want my money back", "refund"),
    ("please refund this purchase", "refund"),
    ("return the money to my card", "refund"),
]
SWAPPED = [(text, {"delivery": "refund", "refund": "delivery"}[label]) for text, label in PARCELS]
LEARN = f"""
import logging, sys
from pathlib import Path
from pointsman.backends.ondevice.classify import load_head
from pointsman.backends.ondevice.embedder import WordLlamaEmbeddings
embedder = WordLlamaEmbeddings()
embedder.embed_query("loaded before the start")
print("ready", flush=True)
sys.stdin.readline()
head = load_head({PARCELS!r} * 50, embedder, cache=Path(sys.argv[1]))
print(head.decide("where is my parcel"), flush=True)
"""


def learn(cache: Path) -> Head:
    return load_head(PARCELS, EMBEDDER, cache=cache)


def test_a_file_cut_anywhere_is_learned_again_and_made_whole(tmp_path: Path) -> None:
    verdict = learn(tmp_path).decide("my parcel")
    (file,) = tmp_path.iterdir()
    whole = len(file.read_bytes())
    for length in (0, 1, 30, whole // 2, whole - 66, whole - 1):
        file.write_bytes(file.read_bytes()[:length])
        assert learn(tmp_path).decide("my parcel") == verdict
        assert len(file.read_bytes()) == whole


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_one_changed_byte_is_found(tmp_path: Path, data: st.DataObject) -> None:
    file = tmp_path / "arrays.npz"
    write_arrays(file, {"numbers": np.arange(20), "label": np.frombuffer(b"text", dtype=np.uint8)})
    written = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] ^= data.draw(st.integers(1, 255))
    file.write_bytes(written)
    try:
        stored = read_arrays(file)
    except ValueError:
        return
    # The two bytes that tell the length of the digest are not covered by it; the arrays are whole.
    assert place in (len(written) - 66, len(written) - 65)
    assert stored["numbers"].tolist() == list(range(20))


def test_a_head_of_other_examples_under_the_same_name_is_not_believed(tmp_path: Path, caplog) -> None:
    learn(tmp_path / "mine")
    load_head(SWAPPED, EMBEDDER, cache=tmp_path / "theirs")
    (mine,), (theirs,) = (tmp_path / "mine").iterdir(), (tmp_path / "theirs").iterdir()
    shutil.copyfile(theirs, mine)
    with caplog.at_level(logging.WARNING):
        assert learn(tmp_path / "mine").decide("where is my parcel").label == "delivery"
    assert "learned from something else" in caplog.text


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path, caplog) -> None:
    occupied = tmp_path / "cache"
    occupied.write_text("a file, not a folder")
    with caplog.at_level(logging.WARNING):
        assert learn(occupied).decide("where is my parcel").label == "delivery"
    assert "not kept" in caplog.text
    assert occupied.read_text() == "a file, not a folder"


def test_a_full_disk_costs_only_time_and_leaves_nothing_behind(programs: Any, tmp_path: Path) -> None:
    full = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n{LEARN}"
    done = programs.run(["-c", full, tmp_path], input="go\n", check=True)
    assert "label='delivery'" in done.stdout
    assert "not kept" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_processes_that_learn_the_same_at_once_agree_and_leave_one_file(programs: Any, tmp_path: Path) -> None:
    processes = [
        programs.start(["-c", LEARN, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = {process.communicate(timeout=300)[0] for process in processes}
    assert len(said) == 1
    assert [file.suffix for file in tmp_path.iterdir()] == [".npz"]
    (file,) = tmp_path.iterdir()
    assert str(Head.load(file, EMBEDDER).decide("where is my parcel")) in said.pop()


def test_learning_twice_gives_the_same_file_but_for_the_time_it_took(tmp_path: Path) -> None:
    stored = []
    for name in ("first", "second"):
        learn(tmp_path / name)
        (file,) = (tmp_path / name).iterdir()
        stored.append(read_arrays(file))
    for key, array in stored[0].items():
        same = array[:-1] if key == "report" else array
        assert np.array_equal(same, stored[1][key][: len(same)] if key == "report" else stored[1][key])


def test_labels_of_any_signs_are_stored_as_they_are(tmp_path: Path) -> None:
    labels = ["a,b", '"quoted"', "two\nlines", "ends with nul\0", "退款", "\u00e9", "e\u0301", "👍", " spaced "]
    examples = [(f"text number {number} {word}", label) for label in labels for number, word in enumerate("xy")]
    learned = load_head(examples, EMBEDDER, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    assert Head.load(file, EMBEDDER).labels == learned.labels == tuple(sorted(labels))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not an archive", b"\x80\x04." * 100])
def test_what_is_no_archive_is_refused_by_one_error(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "head.npz"
    file.write_bytes(damage)
    with pytest.raises(ValueError, match="damaged"):
        read_arrays(file)
