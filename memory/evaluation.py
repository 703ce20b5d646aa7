"""Measure recall on labelled questions: how many of the answering items are among the first five and ten found.

A file is either JSONL of items (``{"key": ..., "text": ..., "source": ...}``, other fields are metadata) and questions
(``{"question": ..., "answers": [keys], "category": ...}``), or JSON (gzipped or not) of conversations in the format of
LoCoMo (https://github.com/snap-research/locomo): sessions of turns, with questions and the turns that answer them.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..configs.errors import ConfigError
from ..configs.words import Trust
from .base import Embedder, Note, Provenance
from .notes import cleaned
from .search.words import terms
from .storage import table
from .store import ChromaStore

__all__ = ["evaluate"]

_AT = (5, 10)
_NAMESPACE = ("evaluated",)
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    answers: frozenset[str]
    category: str


def evaluate(path: Path, embedder: Embedder) -> dict[str, Any]:
    """Store a file's items in a memory and recall them with its questions.

    Args:
        path: The file.
        embedder: Makes the vectors.

    Returns:
        ``recall@5`` and ``recall@10``, each the mean share of a question's answering items that was found, over all
        ``questions`` and by ``categories``; the same for words only (``bm25``), for vectors only (``vectors``), and for
        a recall that ignores neighbouring items (``without_neighbours``).

    Raises:
        ConfigError: If the file has neither format, or no question whose answers are among its items.
    """
    found: list[tuple[str, dict[str, list[float]]]] = []
    for notes, questions in _sets(path):
        with ChromaStore(None, embedder) as store, ChromaStore(None, embedder) as apart:
            for group in notes:
                store.remember_all(_NAMESPACE, group)
                # Items are neighbours only if they share a source.
                apart.remember_all(_NAMESPACE, [_without_source(note) for note in group])
            keys = {note.key for group in notes for note in group}
            asked = [question for question in questions if question.answers <= keys]
            found += [(question.category, _measured(store, apart, question)) for question in asked]
    if not found:
        raise ConfigError("has no question whose answers are among its items", file=path)
    categories = sorted({category for category, _ in found})
    return {
        "questions": len(found),
        **_means([measured["recall"] for _, measured in found]),
        "categories": {
            name: {
                "questions": len(some := [measured["recall"] for category, measured in found if category == name]),
                **_means(some),
            }
            for name in categories
        },
        **{way: _means([measured[way] for _, measured in found]) for way in ("bm25", "vectors", "without_neighbours")},
    }


def _measured(store: ChromaStore, apart: ChromaStore, question: _Question) -> dict[str, list[float]]:
    most = max(_AT)
    with store._mirror.current() as mirror:
        mask = mirror.mask(_NAMESPACE, indexed=True)
        words, *_ = mirror.postings.under(mask).scores(list(dict.fromkeys(terms(question.text))))
        cosines = mirror.cosines(store._vectors.of_query(question.text), mask)
        best = {
            way: mirror.numbers(np.argsort(-scores, kind="stable")[:most])
            for way, scores in (("bm25", words), ("vectors", cosines))
        }
    with store._database.reading() as db:
        rows = table.by_seq(db, best["bm25"] + best["vectors"])
    keys = {number: row.key for number, row in rows.items()}
    ways = {way: [keys[number] for number in numbers] for way, numbers in best.items()}
    for way, asked in (("recall", store), ("without_neighbours", apart)):
        ways[way] = [item.key for item in asked.recall(_NAMESPACE, question.text, limit=most)]
    return {
        way: [len(question.answers & set(listed[:at])) / len(question.answers) for at in _AT]
        for way, listed in ways.items()
    }


def _without_source(note: Note) -> Note:
    return replace(note, provenance=replace(note.provenance, source=""))


def _means(shares: Sequence[Sequence[float]]) -> dict[str, float]:
    return {f"recall@{at}": round(float(np.mean([row[i] for row in shares])), 4) for i, at in enumerate(_AT)}


def _sets(path: Path) -> Iterator[tuple[list[list[Note]], list[_Question]]]:
    """Yield items, grouped so that the items of a group are neighbours, with the questions they answer."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data.startswith(_GZIP) else data).decode("utf-8-sig")
        if text.lstrip().startswith("["):
            yield from map(_conversation, json.loads(text))
        else:
            # JSON may contain characters that `splitlines` treats as line ends.
            yield _lines([json.loads(line) for line in text.split("\n") if line.strip()])
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=path) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"is neither JSONL of items and questions nor JSON of conversations: {error!r}", file=path
        ) from error


def _conversation(sample: Mapping[str, Any]) -> tuple[list[list[Note]], list[_Question]]:
    talk = sample["conversation"]
    groups = []
    number = 1
    while f"session_{number}" in talk:
        date = talk.get(f"session_{number}_date_time", "")
        groups.append([_turn(turn, f"session_{number}", date) for turn in talk[f"session_{number}"]])
        number += 1
    keys = {note.key for group in groups for note in group}
    questions = []
    for asked in sample["qa"]:
        # One string sometimes names several turns.
        named = {part for each in asked.get("evidence") or [] for part in re.split(r"[;,\s]+", each)} & keys
        if named:
            category = str(asked.get("category", "all"))
            questions.append(_Question(str(asked["question"]), frozenset(filter(None, named)), category))
    return [cleaned(group) for group in groups], questions


def _turn(turn: Mapping[str, Any], session: str, date: str) -> Note:
    caption = turn.get("blip_caption")
    text = f"{turn['speaker']}: {turn['text']}" + (f" [{caption}]" if caption else "")
    by = Provenance(session, turn["speaker"], "", Trust.UNTRUSTED)
    return Note(text, by, turn["dia_id"], {"date": date})


def _lines(lines: Sequence[Mapping[str, Any]]) -> tuple[list[list[Note]], list[_Question]]:
    notes = []
    for line in lines:
        if "question" not in line:
            further = {name: value for name, value in line.items() if name not in ("key", "text", "source")}
            by = Provenance(str(line.get("source", "")), "", "", Trust.UNTRUSTED)
            notes.append(Note(line["text"], by, str(line["key"]), further))
    questions = [_asked(line) for line in lines if "question" in line]
    return [cleaned(notes)], questions


def _asked(line: Mapping[str, Any]) -> _Question:
    question, answers = line["question"], line["answers"]
    if not isinstance(question, str) or not isinstance(answers, list) or not answers:
        raise ValueError(f"the question {question!r} needs a list of the keys that answer it")
    return _Question(question, frozenset(map(str, answers)), str(line.get("category", "all")))
