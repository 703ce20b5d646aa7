"""A router is trained, kept in a file, and decides; what it does not know sends the step up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import make_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pointsman.backends.ondevice import WordLlamaEmbeddings
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Tier
from pointsman.evaluation.metrics import AGENT_TIERS, StepBench, apgr
from pointsman.evaluation.train_router import grouped_folds, train
from pointsman.routing.features.features import Features, extract
from pointsman.routing.request import RouteRequest
from pointsman.routing.scorers.learned import Learned, RouterFile, choose, load, save

CODE = "for item in range(10):\n    total = total + values[item];\n" * 12
DIFF = "diff --git a/f.py b/f.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"


def call(command: str) -> dict[str, Any]:
    function = {"name": "bash", "arguments": json.dumps({"command": command})}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "type": "function", "function": function}]}


def result(text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "c", "content": f"<returncode>0</returncode>\n{text}"}


def agent_steps(number: int) -> list[dict[str, Any]]:
    """A trajectory of a coding agent: opening low, working high, looking over what it delivered mid_high."""
    messages = [
        {"role": "system", "content": "You work in a shell."},
        {"role": "user", "content": f"Mend issue {number}.\n{CODE[: 300 + 37 * number]}"},
    ]
    rows = [("low", 1, list(messages))]
    for turn in range(2 + number % 3):
        messages += [call(f"cat file{turn}.py"), result(CODE)]
        rows.append(("high", turn + 2, list(messages)))
    messages += [call("sed -i s/1/2/ f.py"), result(CODE), call("git diff > patch.txt"), result("")]
    messages += [call("cat patch.txt"), result(DIFF)]
    rows.append(("mid_high", 9, messages))
    return [
        {"instance_id": f"agent{number}", "benchmark": "code", "target_tier": tier, "step_index": at, "messages": said}
        for tier, at, said in rows
    ]


def chat_step(number: int) -> dict[str, Any]:
    talk = [{"role": "system", "content": "Answer from the passages. " * 12}]
    for turn in range(1 + number % 4):
        talk += [
            {"role": "user", "content": f"What of {turn}? " * (3 + number)},
            {"role": "assistant", "content": "So."},
        ]
    return {
        "instance_id": f"chat{number}",
        "benchmark": "chat",
        "target_tier": "low",
        "messages": [*talk, {"role": "user", "content": "And then? " * (2 + number)}],
    }


STEPS = [row for number in range(12) for row in agent_steps(number)] + [chat_step(number) for number in range(20)]


@pytest.fixture(scope="module")
def router() -> RouterFile:
    return train(STEPS, trained_on="made-up steps", date="2026-01-02")


@pytest.fixture
def stored(router: RouterFile, tmp_path: Path) -> Path:
    save(router, tmp_path / "router.npz")
    return tmp_path / "router.npz"


def request(row: dict[str, Any]) -> RouteRequest:
    return RouteRequest(messages=tuple(row["messages"]))


def tiers(scorer: Learned, rows: Sequence[dict[str, Any]]) -> list[int]:
    return [AGENT_TIERS.index(scorer.judge(scorer.read(request(row))).tier) for row in rows]


@pytest.mark.slow
def test_trajectories_never_seen_get_the_tier_they_need() -> None:
    bench = StepBench(STEPS)
    found = np.zeros(len(STEPS), dtype=np.int64)
    for inside, outside in grouped_folds(bench.groups, 3):
        model = train([STEPS[row] for row in inside])
        found[outside] = tiers(Learned(model), [STEPS[row] for row in outside])
    majority = [3 if row["benchmark"] == "code" else 0 for row in STEPS]
    assert bench.score(found).trajectory_pass > 92
    assert bench.gain(found, majority).low > 0


@pytest.mark.slow
def test_training_twice_gives_the_same_router(router: RouterFile) -> None:
    again = train(STEPS, trained_on="made-up steps", date="2026-01-02")
    assert again.header == router.header
    assert all((again.arrays[name] == router.arrays[name]).all() for name in router.arrays)
    assert train(STEPS[1:]).id != router.id


@pytest.mark.slow
def test_the_file_gives_back_what_was_trained_and_says_on_what(router: RouterFile, stored: Path) -> None:
    found = load(stored)
    assert found.header == router.header
    assert all((found.arrays[name] == router.arrays[name]).all() for name in router.arrays)
    assert found.header["trained_on"] == "made-up steps"
    assert found.header["date"] == "2026-01-02"
    assert found.header["rows"] == len(STEPS)
    assert len(found.header["data_hash"]) == 64


@pytest.mark.slow
def test_a_step_unlike_all_training_is_not_trusted_and_counts_as_no_easier_than_it_looks(router: RouterFile) -> None:
    strange = [{"role": "user", "content": CODE * 30}, *[{"role": "assistant", "content": CODE}] * 40]
    scorer = Learned(router)
    known, unknown = request(STEPS[0]), RouteRequest(messages=tuple(strange))
    assert scorer.judge(scorer.read(known)).familiarity == 1
    verdict = scorer.judge(scorer.read(unknown))
    assert verdict.familiarity < 0.5
    assert verdict.confidence < 0.5
    assert scorer(_with_signals(unknown, scorer)) is None


def test_confidence_falls_as_a_step_moves_away_from_the_training_data(router: RouterFile) -> None:
    scorer = Learned(router)
    found = np.array(scorer.read(request(STEPS[0])))
    away = [scorer.judge(found + np.eye(len(found))[0] * distance).familiarity for distance in (0, 5, 20, 80)]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 0.1


def test_complexity_lies_in_the_band_of_the_tier(router: RouterFile) -> None:
    scorer = Learned(router)
    edges = [*(router.header["bands"][tier.value] for tier in AGENT_TIERS), 1.0]
    for row in STEPS:
        verdict = scorer.judge(scorer.read(request(row)))
        place = AGENT_TIERS.index(verdict.tier)
        assert edges[place] <= verdict.complexity < edges[place + 1]
        assert 0 <= verdict.confidence <= 1


def _with_signals(asked: RouteRequest, scorer: Learned) -> Features:
    """Features as a record of a decision carries them."""
    known = extract(asked)
    if "signals" in Features.__dataclass_fields__:
        return replace(known, signals=scorer.read(asked))
    wider = make_dataclass("Wider", [("signals", tuple)], bases=(Features,), frozen=True, kw_only=True)
    fields = {name: getattr(known, name) for name in Features.__dataclass_fields__}
    found: Features = wider(**fields, signals=scorer.read(asked))
    return found


def test_a_scorer_called_with_recorded_signals_needs_no_messages(router: RouterFile) -> None:
    scorer = Learned(router)
    for row in STEPS[:6]:
        verdict = scorer.judge(scorer.read(request(row)))
        assert scorer(_with_signals(request(row), scorer)) == (verdict.complexity, verdict.confidence)


def test_features_without_signals_are_not_judged(router: RouterFile) -> None:
    assert Learned(router)(Features(tokens=9_000, code_share=0.5, tool_results=3)) is None


@pytest.mark.parametrize("margin", [0, 1, 2, 5, 50])
def test_a_higher_margin_never_chooses_a_lower_tier(margin: float) -> None:
    random = np.random.default_rng(1)
    for chances in random.dirichlet([1, 1, 1, 1], 50):
        assert choose(chances, margin) <= choose(chances, margin + 3)
    assert choose(np.array([1.0, 0, 0, 0]), margin) == 0
    assert choose(np.array([0, 0, 0, 1.0]), margin) == 3


@pytest.mark.slow
def test_deciding_imports_neither_scikit_learn_nor_an_embedder() -> None:
    code = "import sys, pointsman.routing.scorers.learned, pointsman.routing.decide; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sklearn", "scipy", "wordllama"} & set(loaded)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "nothing to train on"),
        ([{"text": "x"}], "row 1 is neither a step"),
        (
            [STEPS[0], {"prompt": "x", "strong": 1, "weak": 0}],
            "row 2 belongs to prompts and the rows before it to steps",
        ),
        (STEPS[:3], "1 trajectories are too few"),
        ([{**row, "target_tier": "gigantic"} for row in STEPS], "row 1: 'gigantic' is not a tier"),
        ([{"prompt": "x", "strong": 1, "weak": 0}] * 3, "3 prompts are too few"),
        ([{"prompt": "x", "strong": 7, "weak": 0}] * 60, "row 1: strong is 7"),
        ([{"prompt": "x", "strong": 1, "weak": 1}] * 60, "equally good"),
    ],
)
def test_rows_that_teach_nothing_are_refused_by_name(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        train(rows)


def _spoil(path: Path, header: dict[str, Any] | None = None, **arrays: Any) -> None:
    """Change a stored router."""
    with np.load(path) as stored:
        found: dict[str, Any] = {name: stored[name] for name in stored.files}
    if header is not None:
        found["header"] = np.array(json.dumps({**json.loads(str(found["header"])), **header}))
    found.update(arrays)
    np.savez(path, **{name: value for name, value in found.items() if value is not None})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"header": {"signals_version": 0}}, "was trained on version 0 of the signals"),
        ({"header": {"format": "another/9"}}, "another format"),
        ({"header": {"kind": "dreams"}}, "unknown kind 'dreams'"),
        ({"weights": np.zeros((3, 4))}, "do not fit each other"),
        ({"bias": np.array([np.nan, 0, 0])}, "something other than finite numbers"),
        ({"mean": None}, "lacks mean"),
        ({"header": {"instances": None}}, "do not fit each other"),
        ({"header": {"bands": {"economy": 0}}}, "do not fit each other"),
    ],
)
def test_a_file_of_another_make_is_refused_with_what_to_do(stored: Path, change: dict[str, Any], said: str) -> None:
    _spoil(stored, **change)
    with pytest.raises(ConfigError, match=said) as caught:
        load(stored)
    assert "pointsman router train" in str(caught.value)
    assert str(stored) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half of one"])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "router.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is no router file"):
        load(path)


def test_half_a_file_is_refused(stored: Path) -> None:
    stored.write_bytes(stored.read_bytes()[:-200])
    with pytest.raises(ConfigError, match="is no router file"):
        load(stored)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such router file"):
        load(tmp_path / "none.npz")


def test_a_file_with_objects_in_it_runs_no_code(stored: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    _spoil(stored, labels=np.array([Trap()], dtype=object))
    with pytest.raises(ConfigError, match="is no router file"):
        load(stored)
    assert not (tmp_path / "sprung").exists()


# --- prompts ---

TOPICS = ("the moral of a short scene in which {} borrows a bicycle", "a proof about prime number {}")


def prompt_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Two topics: one needs the strong model, whatever its length; the other does not."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        hard = number % 2
        prompt = f"Explain {TOPICS[hard].format(int(random.integers(1000)))}" + " please" * int(random.integers(9))
        weak = float(random.random() < (0.2 if hard else 0.9))
        rows.append({"prompt": prompt, "strong": 1.0, "weak": weak, "category": f"c{number % 10}"})
    return rows


@pytest.fixture(scope="module")
def prompts() -> RouterFile:
    return train(prompt_rows(400), embed=WordLlamaEmbeddings().vectors, date="2026-01-02")


def needs(scorer: Learned, rows: list[dict[str, Any]]) -> Any:
    return np.array([scorer.score_prompt(found) for found in scorer.read_prompts([row["prompt"] for row in rows])])


@pytest.mark.slow
def test_prompts_like_known_ones_are_judged_better_than_by_length(prompts: RouterFile) -> None:
    rows = prompt_rows(200, seed=9)
    strong, weak = (np.array([row[side] for row in rows]) for side in ("strong", "weak"))
    length = np.array([float(len(row["prompt"])) for row in rows])
    learned = Learned(prompts, WordLlamaEmbeddings().vectors)
    assert apgr(strong, weak, needs(learned, rows)) > apgr(strong, weak, length) + 0.05


def test_a_prompt_unlike_all_known_ones_is_judged_by_its_length_alone(prompts: RouterFile) -> None:
    learned = Learned(prompts, WordLlamaEmbeddings().vectors)
    found = learned.read_prompts(["SELECT name FROM stars;", "Translate 'good morning' into Welsh."])
    assert [correction for _, correction, _ in found] == [0, 0]
    assert all(learned.judge(one).confidence < 0.5 for one in found)


def test_without_an_embedder_length_decides_with_little_confidence(prompts: RouterFile) -> None:
    rows = prompt_rows(20)
    learned = Learned(prompts)
    by_length = np.argsort([len(row["prompt"]) for row in rows], kind="stable")
    assert (np.argsort(needs(learned, rows), kind="stable") == by_length).all()
    assert learned.judge(learned.read(RouteRequest(messages=({"role": "user", "content": "Hi"},)))).confidence < 0.5


def test_labels_that_no_prompt_explains_leave_plain_length() -> None:
    random = np.random.default_rng(4)
    rows = [dict(row, weak=float(random.random() < 0.5)) for row in prompt_rows(200)]
    router = train(rows, embed=WordLlamaEmbeddings().vectors)
    assert router.header["weight"] == 0
    assert router.dimensions == 0


def test_the_harder_half_of_prompts_asks_for_the_stronger_model(prompts: RouterFile) -> None:
    learned = Learned(prompts, WordLlamaEmbeddings().vectors)
    chosen = [learned.judge(found).tier for found in learned.read_prompts([row["prompt"] for row in prompt_rows(400)])]
    assert 0.4 < chosen.count(Tier.FRONTIER) / len(chosen) < 0.6
    assert chosen.count(Tier.FRONTIER) + chosen.count(Tier.ECONOMY) == len(chosen)


def test_an_embedder_of_another_length_is_refused(prompts: RouterFile, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="256 dimensions, but the embedder gives 8"):
        Learned(prompts, lambda texts: np.zeros((len(texts), 8), dtype=np.float32))
    save(prompts, tmp_path / "prompts.npz")
    assert load(tmp_path / "prompts.npz", dimensions=256).dimensions == 256
    with pytest.raises(ConfigError, match="256 dimensions, but the embedder gives 8"):
        load(tmp_path / "prompts.npz", dimensions=8)


def test_vectors_that_do_not_fit_their_prompts_are_refused() -> None:
    with pytest.raises(ConfigError, match="one vector a prompt"):
        train(prompt_rows(60), embed=lambda texts: np.zeros((len(texts) - 1, 8), dtype=np.float32))


def test_a_prompt_whose_like_was_never_seen_is_left_to_the_rules(prompts: RouterFile) -> None:
    learned = Learned(prompts, WordLlamaEmbeddings().vectors)

    def judged(prompt: str) -> tuple[float, float] | None:
        asked = RouteRequest(messages=({"role": "user", "content": prompt},))
        return learned(replace(extract(asked), signals=learned.read(asked)))

    assert judged("Hello") is None
    assert judged("Explain a proof about prime number 17 please please") is not None
