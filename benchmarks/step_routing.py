"""Step routing, measured: which tier each step of an agent needs, on trajectories that were not trained on.

    python benchmarks/step_routing.py STEPS [--predictions OUT.jsonl]

STEPS is a file or a folder that holds ``steps.jsonl`` or ``steps.jsonl.gz``: one step per line with ``messages``,
``target_tier``, ``instance_id``, ``step_index`` and ``benchmark`` (TwinRouterBench, arXiv 2605.18859, has such steps).
The rows declare neither kind nor effects nor tier, so the choice of the rules shown here is based on the bare
transcript. A router is trained again, including the choice of its settings, without the trajectories it is measured
on.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from pointsman.configs.loading.loader import load
from pointsman.configs.schema import Settings
from pointsman.evaluation.metrics import AGENT_TIERS, StepBench, StepScores
from pointsman.evaluation.train_router import grouped_folds, train
from pointsman.routing.decide import decide
from pointsman.routing.policy.policy import Policy
from pointsman.routing.request import RouteRequest
from pointsman.routing.scorers.complexity import Scorer
from pointsman.routing.scorers.learned import Learned, RouterFile
from stage import count, existing, parser


def read_steps(place: Path) -> list[dict[str, Any]]:
    """Return the labelled steps of a file or folder."""
    files = [place / "steps.jsonl.gz", place / "steps.jsonl"] if place.is_dir() else [place]
    for path in files:
        if path.is_file():
            opener = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rt", encoding="utf-8") as file:
                return [json.loads(line) for line in file if line.strip()]
    sys.exit(f"{place} holds neither steps.jsonl nor steps.jsonl.gz, so there is nothing to measure")


class Steps:
    """The rows, parsed once, and the built-in rules that decide on them."""

    def __init__(self, rows: list[dict[str, Any]], settings: Settings) -> None:
        self.rows = rows
        self.settings = settings
        self.bench = StepBench(rows)
        self.requests = [RouteRequest(messages=tuple(row["messages"])) for row in rows]

    def decided(self, scorer: Scorer | None, places: Any) -> list[int]:
        """Return the tier of each of these steps under the built-in rules, with an empty catalogue."""
        policy = Policy.compile(self.settings.routing, self.settings.risk, (), scorer=scorer)
        made = [decide(policy.features(self.requests[place]), policy) for place in places]
        return [max(0, decision.tier.rank - AGENT_TIERS[0].rank) for decision in made]


def cross_validate(steps: Steps, seed: int) -> dict[str, Any]:
    """Return predictions for every row from models that were not trained on its trajectory."""
    bench = steps.bench
    every = np.arange(len(bench))
    found: dict[str, Any] = {"rules, the default": np.array(steps.decided(None, every))}
    for inside, outside in grouped_folds(bench.groups, seed):
        scorer = Learned(train([steps.rows[row] for row in inside], seed=seed))
        made = {"trained router, as decided": steps.decided(scorer, outside), **bench.baselines(inside, outside)}
        for name, tiers in made.items():
            found.setdefault(name, np.zeros(len(bench), dtype=np.int64))[outside] = tiers
    found["oracle"] = bench.targets
    return found


def timing(model: RouterFile, steps: Steps) -> None:
    """Print the time that one decision takes to read and judge a request."""
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
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("steps", type=existing, help="the rows: a file, or a folder that holds one")
    arguments.add_argument("--seeds", type=count, default=5, help="ways to cut the folds (default 5)")
    arguments.add_argument(
        "--predictions", type=Path, help="write the default's choice of each row here, as JSON lines"
    )
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps = Steps(read_steps(given.steps), load(Path(folder), environ={}))
    start = time.perf_counter()
    model = train(steps.rows)
    print(f"{len(steps.rows)} steps, {len(np.unique(steps.bench.groups))} trajectories; trained on all of them in "
          f"{time.perf_counter() - start:.1f} s; 5 folds by trajectory, {given.seeds} seeds; "
          f"{model.header['configurations']} settings tried inside the folds\n")  # fmt: skip

    runs = [cross_validate(steps, seed) for seed in range(given.seeds)]
    print(f"{'':<28}row pass  row exact  trajectory pass  cost saved   mean   95 % interval   over the majority")
    for name in runs[0]:
        scores = [steps.bench.score(run[name]) for run in runs]
        interval = steps.bench.interval(runs[0][name])
        gain = steps.bench.gain(runs[0][name], runs[0]["majority"])
        parts = StepScores(*(float(np.mean(column)) for column in zip(*map(astuple, scores), strict=True)))
        print(
            f"{name:<28}{parts.row_pass:8.1f} {parts.row_exact:10.1f} {parts.trajectory_pass:16.1f} "
            f"{parts.cost_saved:11.1f} {parts.mean:6.1f}   [{interval.low:.1f}, {interval.high:.1f}]"
            f"   {gain.value:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]"
        )
    timing(model, steps)
    if given.predictions is not None:
        chosen = runs[0]["rules, the default"]
        lines = [
            {"id": row.get("id"), "tier": AGENT_TIERS[tier].value} for row, tier in zip(steps.rows, chosen, strict=True)
        ]
        given.predictions.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
