from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.memory import HashingEmbedder
from pointsman.memory.evaluation import evaluate

ITEMS = [
    {"key": "cards", "text": "Lost cards are blocked at once.", "source": "cards.md"},
    {"key": "fees", "text": "A replacement costs ten euros.", "source": "cards.md", "date": "7 May, 2023"},
    *({"key": f"other {n}", "text": f"Filler number {n} on taxes.", "source": f"{n}.md"} for n in range(30)),
]
QUESTIONS = [
    {"question": "What happens to lost cards?", "answers": ["cards"], "category": "plain"},
    {"question": "What was said in May?", "answers": ["fees"], "category": "dates"},
    {"question": "whatever", "answers": ["not there"]},
]


def test_items_and_questions_in_jsonl_are_measured_by_category(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text("\n".join(map(json.dumps, [*ITEMS, *QUESTIONS])))
    report = evaluate(file, HashingEmbedder())
    assert (report["questions"], report["recall@5"], report["recall@10"]) == (2, 1.0, 1.0)
    whole = {"questions": 1, "recall@5": 1.0, "recall@10": 1.0}
    assert report["categories"] == {"dates": whole, "plain": whole}
    assert report["bm25"]["recall@5"] == 1.0
    assert report["vectors"]["recall@5"] < 1.0


def test_conversations_are_read_turn_by_turn_with_their_dates(tmp_path: Path) -> None:
    turns = [{"speaker": "Ann", "dia_id": f"D1:{n}", "text": f"Hello {n}."} for n in range(20)]
    turns[7] |= {"text": "Look at this!", "blip_caption": "a photo of whales"}
    sample = {
        "conversation": {"session_1_date_time": "8 May, 2023", "session_1": turns},
        "qa": [
            {"question": "Who saw whales?", "evidence": ["D1:7; D1:8"], "category": 1},
            {"question": "Nothing", "evidence": ["D9:1"], "category": 1},
        ],
    }
    file = tmp_path / "talks.json.gz"
    file.write_bytes(gzip.compress(json.dumps([sample]).encode()))
    report = evaluate(file, HashingEmbedder())
    assert report["questions"] == 1
    assert report["categories"]["1"]["recall@5"] == 1.0
    # What does not name whales is found by what stands beside it alone.
    assert report["without_neighbours"] == {"recall@5": 0.5, "recall@10": 0.5}


def test_two_items_that_say_the_same_are_both_found_by_their_keys(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    asked = {"question": "lost cards", "answers": ["cards", "twin"]}
    file.write_text("\n".join(map(json.dumps, [*ITEMS, {**ITEMS[0], "key": "twin"}, asked])))
    assert evaluate(file, HashingEmbedder())["recall@5"] == 1.0


def test_a_byte_order_mark_and_odd_ends_of_lines_inside_a_text_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    odd = {"key": "odd", "text": "Whales\u2028swim\x85here."}
    lines = [json.dumps(line, ensure_ascii=False) for line in (odd, {"question": "whales", "answers": ["odd"]})]
    file.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    assert evaluate(file, HashingEmbedder())["recall@5"] == 1.0


WHOLE = "\n".join(map(json.dumps, [*ITEMS, *QUESTIONS]))


ZIPPED = gzip.compress(WHOLE.encode(), mtime=0)
BAD_LINES = {
    **{f"the text {text!r}": {"key": "k", "text": text} for text in ("", 5, None)},
    **{f"the answers {answers!r}": {"question": "a", "answers": answers} for answers in ([], "cards", 5)},
    "a question that is a number": {"question": 5, "answers": ["cards"]},
}
BAD_FILES = {
    **{text: text.encode() for text in ("not json", '{"key": 1}', "[1]", "", '{"question": "a", "answers": ["b"]}')},
    "nested without end": b"[" * 100_000,
    "cut off": ZIPPED[:-9],
    "no gzip": b"\x1f\x8b" + bytes(99),
    "overwritten": ZIPPED[:40] + bytes(400),
    **{name: f"{json.dumps(line)}\n{WHOLE}".encode() for name, line in BAD_LINES.items()},
}


@pytest.mark.parametrize("data", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_of_another_shape_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(data)
    with pytest.raises(ConfigError) as refused:
        evaluate(file, HashingEmbedder())
    assert "\n" not in str(refused.value)
