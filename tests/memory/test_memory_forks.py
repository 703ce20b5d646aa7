"""A store in a process that forks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import os, signal, sys, threading
from pathlib import Path
from pointsman.backends.ondevice import WordLlamaEmbeddings
from pointsman.memory.store import ChromaStore

path, how = Path(sys.argv[1]), sys.argv[2]

def opened():
    return ChromaStore(None if how == "in memory" else path, WordLlamaEmbeddings())

store = None if how == "opened after" else opened()
if store is not None:
    store.put(("notes",), "parent", {"text": "from the parent"})
over, ready = threading.Event(), threading.Event()

def use():
    while not over.is_set():
        store.search(("notes",), query="from whom")
        store.put(("notes",), "parent", {"text": "from the parent"})
        ready.set()

user = threading.Thread(target=use)
if how == "busy":
    user.start()
    ready.wait(240)

def child(number):
    signal.alarm(240)
    try:
        mine = opened() if store is None or how == "another" else store
        mine.put(("notes",), f"child {number}", {"text": "from a child"})
        assert mine.search(("notes",), query="from a child")
    except BaseException as error:
        os.write(1, f"{type(error).__name__}: {error}\\n".encode())
        os._exit(1)
    os._exit(0)

pids = []
for number in range(3):
    pid = os.fork()
    if pid == 0:
        child(number)
    pids.append(pid)
statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
over.set()
if how == "busy":
    user.join()
signal.alarm(240)
store = store or opened()
store.put(("notes",), "parent", {"text": "from the parent"})
found = sorted(item.key for item in store.search(("notes",), query="from a child", limit=20))
store.close()
print(statuses, found)
"""


def run(programs: Any, path: Path, how: str) -> list[str]:
    ran = programs.run(["-c", PROGRAM, path, how])
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.slow
def test_children_that_open_a_store_first_read_and_write_it_like_any_process(programs: Any, tmp_path: Path) -> None:
    assert run(programs, tmp_path / "memory", "opened after") == [
        "[0, 0, 0] ['child 0', 'child 1', 'child 2', 'parent']"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["idle", "busy", "another"])
def test_children_of_a_process_that_had_one_open_use_it_like_any_process(
    programs: Any, tmp_path: Path, how: str
) -> None:
    assert run(programs, tmp_path / "memory", how) == ["[0, 0, 0] ['child 0', 'child 1', 'child 2', 'parent']"]


def test_memory_in_a_process_is_its_own_and_a_child_is_told_so(programs: Any, tmp_path: Path) -> None:
    *children, parent = run(programs, tmp_path / "memory", "in memory")
    assert len(children) == 3
    assert all(child.startswith("ConfigError: ") and "does not survive a fork" in child for child in children)
    assert parent == "[1, 1, 1] ['parent']"


WORDS = """
import itertools, os, signal, sys, threading
from pointsman.backends.ondevice import WordLlamaEmbeddings
from pointsman.configs.words import Trust
from pointsman.memory import ChromaStore, Provenance
from pointsman.memory.search import words

embedder, over, begun = WordLlamaEmbeddings(), threading.Event(), threading.Event()
words.terms("walking")
embedder.near(["forest"])

def stem():
    # Ever new words, so that SQLite is at work on them whenever the process forks.
    for number in itertools.count():
        if over.is_set():
            return
        some = range(number, number + 2_000_000, 997)
        letters = ["".join(chr(97 + n // 26**place % 26) for place in range(5)) for n in some]
        words.terms(" ".join(f"run{each}s" for each in letters))
        begun.set()

def child(whole):
    signal.alarm(60)
    # Words of the parent's caches, and words that are new.
    fine = words.terms("walked walkings swimming swims") == [words.term("walk")] * 2 + [words.term("swim")] * 2
    if whole:
        with ChromaStore(None, embedder) as store:
            store.remember(("n",), "The sound of trams.", provenance=Provenance("", "a", "", Trust.USER))
            fine = fine and len(store.recall(("n",), "which noises do tramways make")) == 1
            fine = fine and all(embedder.near(["forest", "ocean"]))
    os._exit(0 if fine else 1)

threads = [threading.Thread(target=stem, daemon=True)] if sys.argv[1] == "busy" else []
for thread in threads:
    thread.start()
    begun.wait()
ended = set()
for number in range(60 if threads else 1):
    pid = os.fork()
    if pid == 0:
        child(whole=not number)
    ended.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
over.set()
for thread in threads:
    thread.join()
print(ended, words.terms("swimming") == words.terms("swims"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["idle", "busy"])
def test_children_have_the_words_of_their_parent_and_new_ones_while_a_thread_is_at_others(
    programs: Any, how: str
) -> None:
    ran = programs.run(["-c", WORDS, how])
    assert ran.stdout == "{0} True\n", ran.stderr
