"""`pointsman router`: trained from lines, measured beside baselines, and telling what it was trained on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from pointsman.routing.learned import load
from pointsman.routing.training import train

Run = Callable[..., Any]
CODE = "for item in range(10):\n    total = total + values[item];\n" * 9


def step(number: int) -> dict[str, Any]:
    """Small talk is low; code under way is high."""
    said = [{"role": "user", "content": f"Say hello to number {number}." if number % 2 else f"Mend {number}.\n{CODE}"}]
    if number % 2 == 0:
        said += [{"role": "assistant", "content": "I look."}, {"role": "user", "content": CODE * (1 + number % 3)}]
    tier = "low" if number % 2 else "high"
    return {"messages": said, "target_tier": tier, "instance_id": f"i{number // 2}", "step_index": number % 2}


def prompt(number: int) -> dict[str, Any]:
    """The longer it is, the rarer the weak model is right."""
    text = f"What is {number} " + "plus one " * (number % 37)
    right = {"strong": 1.0, "weak": float(number % 37 < 18 + number % 5)}
    return {"prompt": text, "category": f"c{number % 3}", **right}


def written(path: Path, rows: Iterable[object]) -> str:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path.name


@pytest.fixture
def steps(project: Path) -> str:
    return written(project / "steps.jsonl", map(step, range(40)))


def test_a_router_is_trained_shown_and_the_same_as_from_python(pointsman: Run, project: Path, steps: str) -> None:
    ended = pointsman("router", "train", steps, "-o", "mine.npz")
    assert ended.exit_code == 0, ended.stderr
    assert "steps.jsonl: 40 rows" in ended.stdout
    assert load(project / "mine.npz").header["data_hash"] == train(list(map(step, range(40)))).header["data_hash"]

    shown = json.loads(pointsman("router", "show", "mine.npz", "--json").stdout)
    assert (shown["kind"], shown["rows"], shown["trained_on"]) == ("steps", 40, "steps.jsonl")
    assert shown["data_hash"] in pointsman("router", "show", "mine.npz").stdout
    assert shown["date"][:2] == "20"
    assert "comes with the package" in pointsman("router", "show").stdout
    assert sorted(path.name for path in project.iterdir()) == ["mine.npz", "steps.jsonl"]


def test_broken_lines_are_reported_with_their_number_and_the_rest_is_used(pointsman: Run, project: Path) -> None:
    good = list(map(step, range(40)))
    rows: list[object] = [
        *good[:20], "{broken\n", "\n", '"text"\n', {"messages": [1], "target_tier": "low"}, {"messages": []},
        {**good[0], "target_tier": "best"}, {**good[0], "step_index": None}, prompt(1), *good[20:],
    ]  # fmt: skip
    ended = pointsman("router", "train", written(project / "rows.jsonl", rows), "-o", "mine.npz", "--json")

    assert ended.exit_code == 1
    told = ended.stderr.splitlines()
    assert [line.split(":")[1] for line in told] == [f" line {n}" for n in (21, 23, 24, 25, 26, 27, 28)]
    assert "is not JSON" in told[0]
    assert "'best' is no tier" in told[4]
    assert "is one of prompts, and those before it are steps" in told[6]
    made = json.loads(ended.stdout)
    assert (made["rows"], made["broken"]) == (40, 7)
    assert load(project / "mine.npz").header["rows"] == 40


def test_steps_are_measured_beside_baselines_and_never_on_rows_it_has_seen(
    pointsman: Run, project: Path, steps: str
) -> None:
    pointsman("router", "train", steps, "-o", "mine.npz")
    made = json.loads(pointsman("router", "eval", steps, "--router", "mine.npz", "--json").stdout)
    scores = {row["name"]: row for row in made["scores"]}
    untrained = {"heuristic, as decided", "always-high", "best-fixed", "majority", "length"}
    assert set(scores) == {"router", "router, as decided", "nearest", "nearest, as decided"} | untrained
    assert (made["left_out"], made["rows"]) == (True, 40)
    assert scores["always-high"]["trajectory_pass"] == 100
    for row in scores.values():
        assert row["mean"]["low"] <= row["mean"]["value"] <= row["mean"]["high"]
        four = (row["row_pass"], row["row_exact"], row["trajectory_pass"], row["cost_saved"])
        assert row["mean"]["value"] == pytest.approx(sum(four) / 4)

    other = project / "other.jsonl.gz"
    other.write_bytes(gzip.compress("".join(json.dumps(step(n)) + "\n" for n in range(100, 120)).encode()))
    told = pointsman("router", "eval", "other.jsonl.gz", "--router", "mine.npz")
    assert told.exit_code == 0, told.stderr
    assert "on 20 rows it was not trained on" in told.stdout
    assert "majority" in told.stdout
    by_default = json.loads(pointsman("router", "eval", "other.jsonl.gz", "--json").stdout)
    assert (by_default["left_out"], by_default["router"]["kind"]) == (False, "steps")


def test_prompts_are_measured_by_the_gap_they_recover_with_intervals(pointsman: Run, project: Path) -> None:
    first = written(project / "prompts.jsonl", map(prompt, range(150)))
    ended = pointsman("router", "train", first, "-o", "mine.npz")
    assert ended.exit_code == 0, ended.stderr
    second = written(project / "second.jsonl", map(prompt, range(200, 350)))
    made = json.loads(pointsman("router", "eval", second, "--router", "mine.npz", "--json").stdout)
    scores = {row["name"]: row for row in made["scores"]}

    assert set(scores) == {"router", "length", "majority", "best-fixed"}
    assert not made["left_out"]
    assert scores["length"]["apgr"]["value"] > 0.7
    assert scores["best-fixed"]["apgr"]["value"] == pytest.approx(0.5)
    assert scores["best-fixed"]["quality"] == 1.0
    for row in scores.values():
        for name in ("apgr", "cpt50", "cpt80", "aiq"):
            assert row[name]["low"] <= row[name]["value"] <= row[name]["high"]
    seen = pointsman("router", "eval", first, "--router", "mine.npz")
    assert "on rows left out of the training" in seen.stdout
    assert "APGR" in seen.stdout


def test_a_router_that_does_not_fit_is_refused_in_one_line(pointsman: Run, project: Path, steps: str) -> None:
    pointsman("router", "train", steps, "-o", "mine.npz")
    prompts = written(project / "prompts.jsonl", map(prompt, range(60)))
    (project / "junk.npz").write_bytes(b"junk")
    _with_dimensions(project / "mine.npz", project / "wide.npz", 1024)
    for words, said in (
        (
            ["eval", prompts, "--router", "mine.npz"],
            "mine.npz: it was trained on steps, and prompts.jsonl holds prompts",
        ),
        (["eval", steps, "--router", "junk.npz"], "junk.npz: is no router file"),
        (["eval", steps, "--router", "none.npz"], "none.npz: there is no such router file"),
        (["eval", steps, "--router", "wide.npz"], "embeddings of 1024 dimensions, but the embedder gives 256"),
        (["show", "junk.npz"], "junk.npz: is no router file"),
    ):
        ended = pointsman("router", *words)
        assert (ended.exit_code, said in ended.stderr) == (2, True), ended.stderr
        assert ended.stderr.count("\n") == 1


def _with_dimensions(source: Path, target: Path, dimensions: int) -> None:
    from pointsman.routing.learned import RouterFile, save

    router = load(source)
    save(RouterFile({**router.header, "dimensions": dimensions}, router.arrays), target)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no rows"),
        (b"\n{}\n", "holds no rows"),
        (b"\x1f\x8b\x08broken", "cannot be read"),
        (gzip.compress(b'{"a": 1}\n' * 9, mtime=0)[:-12], "cannot be read: is a damaged gzip file"),
    ],
)
def test_a_file_without_rows_is_refused(pointsman: Run, project: Path, data: bytes, said: str) -> None:
    (project / "rows.jsonl").write_bytes(data)
    for words in (["train", "rows.jsonl", "-o", "mine.npz"], ["eval", "rows.jsonl"]):
        ended = pointsman("router", *words)
        assert ended.exit_code == 2
        assert f"error: rows.jsonl: {said}" in ended.stderr
    assert not (project / "mine.npz").exists()


def test_what_cannot_be_read_or_written_or_is_too_little_is_refused(pointsman: Run, project: Path, steps: str) -> None:
    few = written(project / "few.jsonl", [step(0)])
    (project / "folder").mkdir()
    for words, said in (
        (["train", "none.jsonl", "-o", "x.npz"], "none.jsonl: cannot be read: No such file"),
        (["train", steps, "-o", "nowhere/x.npz"], "nowhere: there is no such folder"),
        (["train", steps, "-o", "folder"], "folder: cannot be written"),
        (["train", few, "-o", "x.npz"], "1 trajectories are too few to train on"),
        (["eval", few], "all steps are of one trajectory"),
        (["train", steps], "Missing option"),
    ):
        ended = pointsman("router", *words)
        assert (ended.exit_code, said in ended.stderr) == (2, True), (words, ended.stderr)
    assert not list(project.glob(".*"))
