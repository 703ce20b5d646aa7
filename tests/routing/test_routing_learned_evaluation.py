"""The scores say what they claim to, by hand-made cases whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Tier
from pointsman.evaluation.metrics import StepBench, apgr, bootstrap, pair_scores, step_tier


def step(instance: str, index: int, target: str, size: int = 4_000, work: str = "code") -> dict[str, Any]:
    messages = [{"role": "user", "content": "x" * size}]
    for turn in range(1, index):
        messages += [{"role": "assistant", "content": f"turn {turn} " * 20}, {"role": "tool", "content": "y" * 800}]
    return {
        "instance_id": instance,
        "step_index": index,
        "target_tier": target,
        "messages": messages,
        "benchmark": work,
    }


ROWS = [step("a", 1, "low"), step("a", 2, "high"), step("b", 1, "mid"), step("c", 1, "high", work="chat")]


def test_always_the_highest_tier_passes_everything_and_saves_nothing() -> None:
    score = StepBench(ROWS).score([3, 3, 3, 3])
    assert (score.row_pass, score.trajectory_pass, score.cost_saved) == (100, 100, 0)
    assert score.row_exact == 50


def test_the_right_tiers_are_exact_and_save_most() -> None:
    bench = StepBench(ROWS)
    score = bench.score(bench.targets)
    assert (score.row_pass, score.row_exact, score.trajectory_pass) == (100, 100, 100)
    assert score.cost_saved > 0


def test_one_step_too_low_fails_its_whole_trajectory_and_costs_what_it_spent() -> None:
    bench = StepBench(ROWS)
    score = bench.score([0, 2, 1, 3])
    assert (score.row_pass, score.trajectory_pass) == (75, 50)
    assert score.cost_saved < bench.score([0, 3, 1, 3]).cost_saved


def test_a_switch_of_tier_loses_the_warm_cache() -> None:
    bench = StepBench([step("a", 1, "low", 80_000), step("a", 2, "low", 80_000)])
    # Starting one tier lower is cheaper by the price list, yet dearer than staying where the prefix is warm.
    assert bench.score([1, 1]).cost_saved > bench.score([0, 1]).cost_saved


def test_a_better_tier_is_never_scored_as_a_failed_row() -> None:
    bench = StepBench(ROWS)
    for raised in range(4):
        tiers = bench.targets.copy()
        tiers[raised] = 3
        assert bench.score(tiers).trajectory_pass == 100


def test_an_interval_holds_its_figure() -> None:
    bench = StepBench(ROWS * 5)
    found = bench.interval([3, 3, 3, 3] * 5, draws=50)
    assert found.low <= found.value <= found.high
    assert str(found).startswith(f"{found.value:.3f} [")


def test_the_baselines_need_no_model() -> None:
    rows = [step(f"t{place}", 1, "low" if place % 3 else "high", 400 if place % 3 else 9_000) for place in range(30)]
    bench = StepBench(rows)
    found = bench.baselines(np.arange(20), np.arange(20, 30))
    assert set(found["always-high"].tolist()) == {3}
    assert set(found["majority"].tolist()) == {0}
    assert found["length"].tolist() == bench.targets[20:].tolist()
    assert len(set(found["best-fixed"].tolist())) == 1


def test_a_workload_never_seen_has_no_majority_and_gets_the_highest_tier() -> None:
    rows = [*ROWS, step("d", 1, "low", work="new")]
    assert StepBench(rows).baselines(np.arange(4), np.array([4]))["majority"].tolist() == [3]


@pytest.mark.parametrize(("label", "place"), [("low", 0), ("mid_high", 2), (Tier.FRONTIER, 3), (Tier.ONDEVICE, 0)])
def test_both_vocabularies_of_tiers_are_understood(label: str, place: int) -> None:
    assert step_tier(label) == place


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no labelled steps"),
        ([{"target_tier": "low"}], "row 1 has no messages"),
        ([{"target_tier": "low", "messages": ["hello"]}], "row 1 has no messages"),
        ([{**ROWS[0], "step_index": "second"}], "row 1: step_index is 'second'"),
        ([ROWS[0], {**ROWS[1], "target_tier": "huge"}], "row 2: 'huge' is not a tier"),
    ],
)
def test_rows_that_cannot_be_scored_are_named(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        StepBench(rows)


RANDOM = np.random.default_rng(5)
HARD = RANDOM.random(3_000)
STRONG = (RANDOM.random(3_000) > 0.2 * HARD).astype(float)
WEAK = (RANDOM.random(3_000) > 0.8 * HARD).astype(float)


def test_chance_recovers_half_and_a_constant_exactly_half() -> None:
    noise = np.mean([apgr(STRONG, WEAK, RANDOM.random(3_000)) for _ in range(20)])
    assert noise == pytest.approx(0.5, abs=0.02)
    assert apgr(STRONG, WEAK, np.zeros(3_000)) == pytest.approx(0.5)
    constant = pair_scores(STRONG, WEAK, np.zeros(3_000))
    assert (constant.cpt50, constant.cpt80) == (pytest.approx(0.5), pytest.approx(0.8))
    assert constant.aiq_gain == pytest.approx(0, abs=1e-9)


def test_knowing_what_is_hard_beats_chance_and_knowing_the_answer_beats_that() -> None:
    known, oracle = pair_scores(STRONG, WEAK, HARD), pair_scores(STRONG, WEAK, STRONG - WEAK)
    assert 0.55 < known.apgr < oracle.apgr
    assert oracle.cpt80 < known.cpt80 < 0.8
    assert 0 < known.aiq_gain < oracle.aiq_gain
    assert known.best_fixed == STRONG.mean() <= oracle.quality


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_a_score_and_its_opposite_share_one_whole(seed: int) -> None:
    random = np.random.default_rng(seed)
    score = random.integers(0, 9, 3_000).astype(float)
    assert apgr(STRONG, WEAK, score) + apgr(STRONG, WEAK, -score) == pytest.approx(1)


def test_weights_count_a_prompt_as_often_as_they_say() -> None:
    strong, weak, score = STRONG[:60], WEAK[:60], HARD[:60]
    weights = np.arange(60) % 3.0
    repeated = np.repeat(np.arange(60), weights.astype(int))
    once = apgr(strong[repeated], weak[repeated], score[repeated])
    assert apgr(strong, weak, score, weights) == pytest.approx(once)


def test_prices_of_ones_own_change_the_cost_and_not_the_gap_recovered() -> None:
    costs = (np.full(3_000, 2.0), np.ones(3_000))
    own, usual = pair_scores(STRONG, WEAK, HARD, costs=costs), pair_scores(STRONG, WEAK, HARD)
    assert own.apgr == usual.apgr


def test_two_models_of_one_quality_have_nothing_to_recover() -> None:
    with pytest.raises(ConfigError, match="equally good"):
        pair_scores(STRONG, STRONG, HARD)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="a score that is a number"):
        apgr(STRONG, WEAK, np.full(3_000, np.nan))


def test_a_bootstrap_can_draw_whole_groups() -> None:
    values = np.repeat([0.0, 1.0], 50)
    alone = bootstrap(lambda weights: float(weights @ values / weights.sum()), 100, draws=200)
    together = bootstrap(
        lambda weights: float(weights @ values / weights.sum()), 100, draws=200, groups=np.repeat([0, 1], 50)
    )
    assert alone.value == together.value == 0.5
    assert together.high - together.low > alone.high - alone.low
