"""Step routing, measured: which tier each step of an agent needs, on trajectories never trained on.

Run ``python benchmarks/step_routing.py FOLDER``, where FOLDER holds ``steps.jsonl`` or ``steps.jsonl.gz``: one step a
line with ``messages``, ``target_tier``, ``instance_id``, ``step_index`` and ``benchmark`` (TwinRouterBench,
arXiv 2605.18859, has such steps). Everything is trained and chosen inside the training folds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pointsman.routing.complexity import heuristic
from pointsman.routing.evaluation import AGENT_TIERS, StepBench, StepScores
from pointsman.routing.features import extract
from pointsman.routing.learned import Learned, RouterFile
from pointsman.routing.nearest import Nearest
from pointsman.routing.request import RouteRequest
from pointsman.routing.training import grouped_folds, train

BANDS = (0.35, 0.6, 0.85)


def read_steps(folder: Path) -> list[dict[str, Any]]:
    """The labelled steps of a folder."""
    for name, opener in (("steps.jsonl.gz", gzip.open), ("steps.jsonl", open)):
        if (folder / name).is_file():
            with opener(folder / name, "rt", encoding="utf-8") as file:
                return [json.loads(line) for line in file if line.strip()]
    sys.exit(f"{folder} holds neither steps.jsonl nor steps.jsonl.gz, so there is nothing to measure")


class Steps:
    """The rows, read once."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.bench = StepBench(rows)
        requests = [RouteRequest(messages=tuple(row["messages"])) for row in rows]
        self.requests = requests
        self.guesses = [heuristic(extract(request)) for request in requests]

    def learned(self, scorer: Learned, row: int) -> tuple[int, int, float]:
        """The scorer's tier, the tier decided from complexity and confidence, and the confidence."""
        verdict = scorer.judge(scorer.read(self.requests[row]))
        complexity = verdict.complexity
        if verdict.confidence < 0.5:
            complexity = max(complexity, self.guesses[row][0])
        return AGENT_TIERS.index(verdict.tier), decided(complexity, verdict.confidence), verdict.confidence


def decided(complexity: float, confidence: float) -> int:
    """The tier the rules give a complexity, one higher where the confidence is low."""
    tier = int(np.digitize(complexity, BANDS))
    return min(3, tier + 1) if confidence < 0.5 else tier


def cross_validate(steps: Steps, seed: int) -> dict[str, Any]:
    """Predictions for every row from models that never saw its trajectory."""
    bench = steps.bench
    found: dict[str, Any] = {}

    def put(name: str, rows: Any, tiers: Any) -> None:
        found.setdefault(name, np.zeros(len(bench), dtype=np.int64))[rows] = tiers

    for inside, outside in grouped_folds(bench.groups, seed):
        model = train([steps.rows[row] for row in inside], seed=seed)
        for name, scorer in (("learned", Learned(model)), ("nearest", Nearest(model))):
            said = [steps.learned(scorer, row) for row in outside]
            put(name, outside, [tier for tier, _, _ in said])
            put(f"{name}, as decided", outside, [tier for _, tier, _ in said])
        for name, tiers in bench.baselines(inside, outside).items():
            put(name, outside, tiers)
    put("heuristic, as decided", slice(None), [decided(*guess) for guess in steps.guesses])
    put("oracle", slice(None), bench.targets)
    return found


def unseen_workloads(steps: Steps) -> None:
    """Train without a workload and score it: how the router behaves on work it does not know."""
    bench = steps.bench
    print("\nworkload never seen      unsure   row pass   trajectory pass   mean   (as chosen -> as decided)")
    for work in np.unique(bench.workloads):
        inside, outside = np.flatnonzero(bench.workloads != work), np.flatnonzero(bench.workloads == work)
        if len(np.unique(bench.groups[inside])) < 5:
            continue
        scorer = Learned(train([steps.rows[row] for row in inside]))
        said = [steps.learned(scorer, row) for row in outside]
        paths = np.unique(bench.groups[outside]).tolist()
        whole = [np.zeros(len(bench), dtype=np.int64) for _ in range(2)]
        whole[0][outside] = [tier for tier, _, _ in said]
        whole[1][outside] = [tier for _, tier, _ in said]
        raw, final = (bench.score(tiers, paths) for tiers in whole)
        unsure = sum(sure < 0.5 for _, _, sure in said) / len(said)
        print(
            f"{work:<22} {unsure:8.0%}  {raw.row_pass:4.0f} -> {final.row_pass:3.0f}"
            f"   {raw.trajectory_pass:9.0f} -> {final.trajectory_pass:3.0f}   {raw.mean:5.1f} -> {final.mean:.1f}"
        )


def calibration(steps: Steps, seeds: int) -> None:
    """How often a tier was enough, by the confidence in it."""
    pairs: list[tuple[float, bool]] = []
    for seed in range(seeds):
        for inside, outside in grouped_folds(steps.bench.groups, seed):
            scorer = Learned(train([steps.rows[row] for row in inside], seed=seed))
            for row in outside:
                tier, _, confidence = steps.learned(scorer, row)
                pairs.append((confidence, tier >= steps.bench.targets[row]))
    print("\nconfidence   steps   tier was enough")
    for low, high in ((0, 0.5), (0.5, 0.8), (0.8, 0.9), (0.9, 1.01)):
        inside = [(sure, good) for sure, good in pairs if low <= sure < high]
        if inside:
            mean, right = (float(np.mean(column)) for column in zip(*inside, strict=True))
            print(f"{mean:10.2f} {len(inside):7d} {right:17.2f}")


def timing(model: RouterFile, steps: Steps) -> None:
    """Time of one decision's worth of reading and judging."""
    scorer = Learned(model)
    sizes = [sum(len(str(message.get("content") or "")) for message in row["messages"]) for row in steps.rows]
    row = int(np.argmin(np.abs(np.array(sizes) - 50_000)))
    found = scorer.read(steps.requests[row])

    def spent(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        for _ in range(300):
            work()
        return (time.perf_counter() - start) / 300 * 1e3

    reading, judging = spent(lambda: scorer.read(steps.requests[row])), spent(lambda: scorer.judge(found))
    print(f"\nreading {sizes[row]:,} characters {reading:.3f} ms, judging {judging:.3f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="holds steps.jsonl or steps.jsonl.gz")
    parser.add_argument("--seeds", type=int, default=5, help="ways to cut the folds (default 5)")
    given = parser.parse_args()
    if given.folder is None:
        sys.exit("no data folder was given, so nothing was measured: python benchmarks/step_routing.py FOLDER")
    steps = Steps(read_steps(given.folder))
    start = time.perf_counter()
    model = train(steps.rows)
    print(f"{len(steps.rows)} steps, {len(np.unique(steps.bench.groups))} trajectories; trained on all of them in "
          f"{time.perf_counter() - start:.1f} s; 5 folds by trajectory, {given.seeds} seeds\n")  # fmt: skip

    runs = [cross_validate(steps, seed) for seed in range(given.seeds)]
    print(f"{'':<24}row pass  row exact  trajectory pass  cost saved   mean (spread over seeds)   95 % interval")
    for name in runs[0]:
        scores = [steps.bench.score(run[name]) for run in runs]
        means = [score.mean for score in scores]
        interval = steps.bench.interval(runs[0][name])
        parts = StepScores(*(float(np.mean(column)) for column in zip(*map(_four, scores), strict=True)))
        print(
            f"{name:<24}{parts.row_pass:8.1f} {parts.row_exact:10.1f} {parts.trajectory_pass:16.1f} "
            f"{parts.cost_saved:11.1f} {np.mean(means):6.1f} ({min(means):.1f} to {max(means):.1f})".ljust(97)
            + f"[{interval.low:.1f}, {interval.high:.1f}]"
        )
    unseen_workloads(steps)
    calibration(steps, min(given.seeds, 2))
    timing(model, steps)


def _four(score: StepScores) -> tuple[float, float, float, float]:
    return score.row_pass, score.row_exact, score.trajectory_pass, score.cost_saved


if __name__ == "__main__":
    main()
