"""CPU of a supervised run of five steps against the same five model calls in a bare LangGraph graph.

    python benchmarks/supervised.py [--runs N] [--rounds N] [--at-once N ...]

The steps have no tools and low risk, and the plan is given. Both write a checkpoint to SQLite on disk before the next
step begins (``durability="sync"``). With memory, each step's result is also written to the run's memory and later
steps search it; without, an empty store is used. Every contender runs in a process of its own and asks the same
loopback provider, which answers at once from another process. Blocks of runs alternate; a ratio is the median of the
ratios of adjacent blocks. CPU is that of all threads of the contender's process, deferred work included.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict

from stage import Provider, Worker, at_work, count, parser, provider, table

PEER = "langgraph"
OURS = {"without memory": False, "with memory": True}
BAR = 1.5
_ANSWER = "The order has left the warehouse this morning and should reach you on Thursday."
_PROMPT = "Where is my order 4711? I was promised it for Tuesday."
_WARM = 5

Blocks = dict[tuple[str, int], list[float]]
"""Contender and runs at once -> milliseconds of CPU a run, block by block."""


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--runs", type=count, default=32, help="runs a block (default 32)")
    arguments.add_argument("--rounds", type=count, default=5, help="blocks of each kind (default 5)")
    arguments.add_argument("--at-once", type=count, nargs="+", default=[1, 16], help="runs at once (default 1 and 16)")
    options = arguments.parse_args()
    with provider() as played:
        played.play([{"answer": _ANSWER}], "openai")
        workers = _workers(played)
        with at_work(workers.values()):
            blocks = _measure(workers, options)
    _print(blocks, options.at_once)


def _workers(played: Provider) -> dict[str, Worker]:
    workers = {PEER: Worker(PEER), **{name: Worker("pointsman-workflow") for name in OURS}}
    for name, worker in workers.items():
        worker.tell(do="build", url=played.url, memory=OURS.get(name))
        worker.tell(do="block", mode="plain", calls=_WARM, at_once=1, prompt=_PROMPT)
    return workers


def _measure(workers: dict[str, Worker], options: argparse.Namespace) -> Blocks:
    blocks: Blocks = defaultdict(list)
    for _ in range(options.rounds):
        for at_once in options.at_once:
            for name, worker in workers.items():
                told = worker.tell(do="block", mode="plain", calls=options.runs, at_once=at_once, prompt=_PROMPT)
                blocks[name, at_once].append(told["cpu_ms"])
    return blocks


def _print(blocks: Blocks, at_once: list[int]) -> None:
    head = ["", *(f"{number} at once" for number in at_once)]
    print("CPU ms a run, median (least - most)\n")
    rows = []
    for name in (PEER, *OURS):
        cells = [blocks[name, number] for number in at_once]
        rows.append([name, *(f"{statistics.median(c):.1f} ({min(c):.1f} - {max(c):.1f})" for c in cells)])
    print(table(head, rows))
    print(f"\nCPU, pointsman / {PEER}, median of paired blocks\n")
    ratios = {name: [_ratio(blocks, name, number) for number in at_once] for name in OURS}
    print(table(head, [[name, *(f"{ratio:.2f}" for ratio in found)] for name, found in ratios.items()]))
    worst = max(ratios["without memory"])
    print(f"\n{'met' if worst <= BAR else 'MISSED'}: without memory at most {worst:.2f} times (bar {BAR:.2f})")


def _ratio(blocks: Blocks, name: str, at_once: int) -> float:
    return statistics.median(
        ours / theirs for ours, theirs in zip(blocks[name, at_once], blocks[PEER, at_once], strict=True)
    )


if __name__ == "__main__":
    main()
