"""`pointsman router`: trained from lines, measured beside baselines, and telling what it was trained on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from pointsman.evaluation.train_router import train
from pointsman.routing.scorers.learned import load
from pointsman.simulator import Answer, Rule, Scenario, Simulator, ToolCall
from pointsman.simulator.request import Request

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


@pytest.mark.slow
def test_a_router_is_trained_shown_and_the_same_as_from_python(pointsman: Run, project: Path, steps: str) -> None:
    ended = pointsman("router", "train", steps, "-o", "mine.npz")
    assert ended.exit_code == 0, ended.stderr
    assert "steps.jsonl: 40 rows" in ended.stdout
    assert load(project / "mine.npz").header["data_hash"] == train(list(map(step, range(40)))).header["data_hash"]

    shown = json.loads(pointsman("router", "show", "mine.npz", "--json").stdout)
    assert (shown["kind"], shown["rows"], shown["trained_on"]) == ("steps", 40, "steps.jsonl")
    assert shown["data_hash"] in pointsman("router", "show", "mine.npz").stdout
    assert shown["date"][:2] == "20"
    assert (shown["configurations"], len(shown["instances"])) == (9, 20)
    assert "the best of 9 that were tried" in ended.stdout
    assert sorted(path.name for path in project.iterdir()) == ["mine.npz", "steps.jsonl"]


@pytest.mark.slow
def test_broken_lines_are_reported_with_their_number_and_the_rest_is_used(pointsman: Run, project: Path) -> None:
    good = list(map(step, range(40)))
    rows: list[object] = [
        *good[:20], "{broken\n", "\n", '"text"\n', {"messages": [1], "target_tier": "low"}, {"messages": []},
        {**good[0], "target_tier": "best"}, {**good[0], "step_index": None}, prompt(1), *good[20:],
    ]  # fmt: skip
    ended = pointsman("router", "train", written(project / "rows.jsonl", rows), "-o", "mine.npz", "--json")

    assert ended.exit_code == 2
    told = ended.stderr.splitlines()
    assert [line.split(":")[1] for line in told] == [f" line {n}" for n in (21, 23, 24, 25, 26, 27, 28)]
    assert "is not JSON" in told[0]
    assert "'best' is not a tier" in told[4]
    assert "is one of prompts, and those before it are steps" in told[6]
    made = json.loads(ended.stdout)
    assert (made["rows"], made["broken"]) == (40, 7)
    assert load(project / "mine.npz").header["rows"] == 40


@pytest.mark.slow
def test_steps_are_measured_beside_baselines_and_never_on_rows_it_has_seen(
    pointsman: Run, project: Path, steps: str
) -> None:
    pointsman("router", "train", steps, "-o", "mine.npz")
    made = json.loads(pointsman("router", "eval", steps, "--router", "mine.npz", "--json").stdout)
    scores = {row["name"]: row for row in made["scores"]}
    assert set(scores) == {"scorer", "rules", "always-high", "best-fixed", "majority", "length"}
    assert (made["left_out"], made["dropped"], made["rows"], made["configurations"]) == (True, 0, 40, 9)
    assert scores["always-high"]["trajectory_pass"] == 100
    for row in scores.values():
        assert row["mean"]["low"] <= row["mean"]["value"] <= row["mean"]["high"]
        four = (row["row_pass"], row["row_exact"], row["trajectory_pass"], row["cost_saved"])
        assert row["mean"]["value"] == pytest.approx(sum(four) / 4)

    other = project / "other.jsonl.gz"
    other.write_bytes(gzip.compress("".join(json.dumps(step(n)) + "\n" for n in range(30, 60)).encode()))
    told = pointsman("router", "eval", "other.jsonl.gz", "--router", "mine.npz")
    assert told.exit_code == 0, told.stderr
    assert "on 20 rows it was not trained on; 10 of instances it was trained on are left out" in told.stdout
    assert "majority" in told.stdout


def _rows(count: int, *, teaches: bool, first: int = 0) -> list[dict[str, Any]]:
    """Steps of one length: programs need the highest tier where they teach that, else nothing tells."""
    made = []
    for number in range(first, first + count):
        hard = number % 2 if teaches else number % 3 == 0
        text = (CODE * 9 if number % 2 else "A word about what is to be done here. " * 99)[:3_000]
        made.append(
            {
                "messages": [{"role": "user", "content": f"{number:03d} {text}"}],
                "target_tier": "high" if hard else "low",
                "instance_id": f"i{number}",
            }
        )
    return made


@pytest.mark.slow
@pytest.mark.parametrize("teaches", [True, False])
def test_a_router_is_used_for_a_task_only_where_it_beats_majority_and_length(
    pointsman: Run, project: Path, teaches: bool
) -> None:
    first = written(project / "first.jsonl", _rows(32, teaches=teaches))
    second = written(project / "second.jsonl", _rows(32, teaches=teaches, first=60))
    pointsman("router", "train", first, "-o", "mine.npz")
    (project / "routing.yaml").write_text("routing: {scorer: mine.npz}")
    asked = json.dumps(_rows(2, teaches=True)[1] | {"id": "x"} | {}).replace('"target_tier": "high", ', "")
    request = json.dumps({"messages": json.loads(asked)["messages"]})

    def tier() -> str:
        made = json.loads(pointsman("route", "--json", stdin=request + "\n").stdout)
        return str(made["tier"])

    assert tier() == "economy"
    assert "nothing proves that it helps" in pointsman("config", "check").stdout
    ended = pointsman("router", "eval", second, "--router", "mine.npz")
    assert ended.exit_code == 0, ended.stderr
    assert ("chat: used: mean of the four over the majority +" in ended.stdout) is teaches
    assert ("chat: not used: it does not beat" in ended.stdout) is not teaches
    assert (project / "mine.npz.proof.json").is_file()
    assert tier() == ("frontier" if teaches else "economy")
    checked = pointsman("config", "check")
    assert ("scorer: mine.npz is not used: chat: it does not beat" in checked.stdout) is not teaches
    explained = pointsman("route", "explain", "-", stdin=request + "\n").stdout
    assert ("scorer.unproven: mine.npz is not used" in explained) is not teaches


@pytest.mark.slow
def test_tasks_are_proved_one_by_one(pointsman: Run, project: Path) -> None:
    good = [{**row, "task": "mend"} for row in _rows(32, teaches=True)]
    few = [{**row, "task": "talk", "instance_id": f"t{n}"} for n, row in enumerate(_rows(9, teaches=True, first=60))]
    rows = written(project / "rows.jsonl", [*good, *few])
    pointsman("router", "train", rows, "-o", "mine.npz")
    made = json.loads(pointsman("router", "eval", rows, "--router", "mine.npz", "--json").stdout)
    assert made["used_for"] == ["mend"]
    assert made["proof"]["tasks"]["talk"]["instances"] == 9


def test_an_eval_says_what_it_measures(pointsman: Run, project: Path, steps: str) -> None:
    for words in ([], ["--router", "mine.npz", "--classifier"]):
        ended = pointsman("router", "eval", steps, *words)
        assert (ended.exit_code, "say what to measure" in ended.stderr) == (2, True)


@pytest.mark.slow
def test_a_row_that_declares_what_no_request_may_is_broken(pointsman: Run, project: Path) -> None:
    rows = [*map(step, range(40)), {**step(41), "effects": ["burn"]}]
    ended = pointsman("router", "train", written(project / "rows.jsonl", rows), "-o", "mine.npz")
    assert (ended.exit_code, "line 41:" in ended.stderr) == (2, True)


@pytest.mark.slow
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
    assert "on 150 rows left out of the training" in seen.stdout
    assert "APGR" in seen.stdout


@pytest.mark.slow
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
    from pointsman.routing.scorers.learned import RouterFile, save

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
    for words in (["train", "rows.jsonl", "-o", "mine.npz"], ["eval", "rows.jsonl", "--classifier"]):
        ended = pointsman("router", *words)
        assert ended.exit_code == 2
        assert f"error: rows.jsonl: {said}" in ended.stderr
    assert not (project / "mine.npz").exists()


@pytest.mark.slow
def test_what_cannot_be_read_or_written_or_is_too_little_is_refused(pointsman: Run, project: Path, steps: str) -> None:
    few = written(project / "few.jsonl", [step(0)])
    (project / "folder").mkdir()
    for words, said in (
        (["train", "none.jsonl", "-o", "x.npz"], "none.jsonl: cannot be read: No such file"),
        (["train", steps, "-o", "nowhere/x.npz"], "nowhere: there is no such folder"),
        (["train", steps, "-o", "folder"], "folder: cannot be written"),
        (["train", few, "-o", "x.npz"], "1 trajectories are too few to train on"),
        (["eval", few, "--classifier"], "all steps are of one trajectory"),
        (["train", steps], "Missing option"),
    ):
        ended = pointsman("router", *words)
        assert (ended.exit_code, said in ended.stderr) == (2, True), (words, ended.stderr)
    assert not list(project.glob(".*"))


@pytest.mark.slow
def test_the_classifier_is_measured_by_asking_it_and_used_once_it_has_proved_itself(
    pointsman: Run, project: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_PROVIDERS__OPENAI__BASE_URL", simulator.url("openai"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-simulated")

    def judged(request: Request) -> Answer:
        level = "extreme" if "for item in" in request.user_text else "simple"
        return Answer(tool_calls=(ToolCall("judge_step", {"level": level, "hardest": level}),))

    simulator.scenario = Scenario(rules=(Rule(answer=judged),))
    labels = {"high": "high", "low": "mid"}
    rows = [{**row, "kind": "decide", "target_tier": labels[row["target_tier"]]} for row in _rows(24, teaches=True)]
    (project / "routing.yaml").write_text("routing: {scorer: classifier}")
    ended = pointsman("router", "eval", written(project / "rows.jsonl", rows), "--classifier", "--json")
    assert ended.exit_code == 0, ended.stderr
    made = json.loads(ended.stdout)
    assert (made["used_for"], len(simulator.log)) == (["chat"], 24)
    assert (project / "classifier.proof.json").is_file()
    assert [
        (one["name"], one["totals"]["calls"]) for one in json.loads(pointsman("report", "--json").stdout)["agents"]
    ] == [("(router)", 24)]
    assert pointsman("config", "check").exit_code == 0
