"""CPU and latency of a model call: RoutedChatModel against plain langchain-openai, ModelFallbackMiddleware and litellm.

    python benchmarks/calls.py [--quick] [--peer-python ENV/bin/python]

Every contender runs in a process of its own and asks the same loopback provider, which answers at once from another
process. Blocks of calls alternate (A B C, A B C, …), so that other load on the machine affects all contenders; a ratio
is the median of the ratios of adjacent blocks.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from typing import Any

from stage import Provider, Worker, WorkerFailed, at_work, count, parser, program, provider, table, verdict

OURS, PLAIN = "pointsman", "langchain-openai"
MODES = ("plain", "streamed")
AT_ONCE = (1, 16, 64, 256)
# 25 words, which the simulator streams in as many chunks.
_ANSWER = (
    "The order has left the warehouse this morning and should reach you on Thursday; you can follow it with the number"
    " in the letter we sent."
)
_PROMPT = "Where is my order 4711? I was promised it for Tuesday."
# More than any run here can spend: the budget is tracked, but never reached.
_CAP = 1000.0

Blocks = dict[tuple[str, str, int], list[dict[str, float]]]


def main() -> None:
    """Measure and print."""
    options = _options()
    with provider() as played:
        played.play([{"answer": _ANSWER}], "openai", "deepseek")
        workers = _workers(options, played)
        with at_work(workers):
            blocks = _measure(workers, options)
    _print(blocks, [worker.contender for worker in workers], options)


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--quick", action="store_true", help="fewer and smaller blocks, at 1 and 16 at once only")
    arguments.add_argument("--calls", type=count, help="calls a block (default 300, quick 60)")
    arguments.add_argument("--rounds", type=count, help="blocks of each kind (default 7, quick 2)")
    arguments.add_argument(
        "--peer-python", type=program, metavar="PATH", help="interpreter of an environment with litellm"
    )
    arguments.add_argument("--no-peers", action="store_true", help="against plain langchain-openai alone")
    arguments.add_argument("--no-cap", action="store_true", help="run without a budget")
    options = arguments.parse_args()
    options.calls = options.calls or (60 if options.quick else 300)
    options.rounds = options.rounds or (2 if options.quick else 7)
    options.at_once = AT_ONCE[:2] if options.quick else AT_ONCE
    return options


def _workers(options: argparse.Namespace, played: Provider) -> list[Worker]:
    wanted = [Worker(OURS), Worker(PLAIN)]
    if not options.no_peers:
        wanted.append(Worker("fallback-middleware"))
        if options.peer_python:
            wanted.append(Worker("litellm-router", options.peer_python))
        else:
            print("litellm-router is left out: give --peer-python an environment with litellm\n")
    ready = []
    for worker in wanted:
        try:
            worker.tell(do="build", url=played.url, cap=None if options.no_cap else _CAP)
            for mode in MODES:
                worker.tell(do="block", mode=mode, calls=50, at_once=16, prompt=_PROMPT)
            ready.append(worker)
        except WorkerFailed as failure:
            worker.close()
            if worker.contender in (OURS, PLAIN):
                raise SystemExit(str(failure)) from None
            print(f"{worker.contender} is left out: {failure}\n")
    return ready


def _measure(workers: list[Worker], options: argparse.Namespace) -> Blocks:
    blocks: Blocks = defaultdict(list)
    for _ in range(options.rounds):
        for at_once in options.at_once:
            for mode in MODES:
                for worker in workers:
                    # Every lane asks at least twice, so that a block does not only measure connecting.
                    calls = max(options.calls, 2 * at_once)
                    result: Any = worker.tell(do="block", mode=mode, calls=calls, at_once=at_once, prompt=_PROMPT)
                    blocks[worker.contender, mode, at_once].append(result)
    return blocks


def _print(blocks: Blocks, names: list[str], options: argparse.Namespace) -> None:
    kept = "decision, breaker, ledger" + ("" if options.no_cap else ", budget")
    print(f"{options.rounds} rounds of blocks of {options.calls} calls; pointsman with {kept}\n")
    print("CPU ms a call, median (least - most)\n")
    print(table(["", *(f"{n} at once" for n in options.at_once)], _cpu_rows(blocks, names, options.at_once)))
    print("\nCPU, pointsman / other, median of paired blocks\n")
    rows = [
        [f"{mode} / {name}", *(f"{_ratio(blocks, name, mode, n):.2f}" for n in options.at_once)]
        for mode in MODES
        for name in names
        if name != OURS
    ]
    print(table(["", *(f"{n} at once" for n in options.at_once)], rows))
    print("\nlatency at 1 at once, median ms\n")
    rows = [[name, *(f"{_median(blocks, name, mode, 1, 'p50_ms'):.2f}" for mode in MODES)] for name in names]
    rows.append(["added by pointsman", *(f"{_added(blocks, mode):+.2f}" for mode in MODES)])
    print(table(["", *MODES], rows))
    print()
    for line in _verdicts(blocks, options.at_once):
        print(line)


def _cpu_rows(blocks: Blocks, names: list[str], at_once: tuple[int, ...]) -> list[list[str]]:
    rows = []
    for mode in MODES:
        for name in names:
            cells = []
            for number in at_once:
                values = [block["cpu_ms"] for block in blocks[name, mode, number]]
                cells.append(f"{statistics.median(values):.2f} ({min(values):.2f} - {max(values):.2f})")
            rows.append([f"{mode} / {name}", *cells])
    return rows


def _verdicts(blocks: Blocks, at_once: tuple[int, ...]) -> list[str]:
    lines = []
    for mode in MODES:
        worst = max(_ratio(blocks, PLAIN, mode, number) for number in at_once)
        lines.append(verdict(worst <= 1.0, f"{mode}: CPU at most {worst:.2f} of {PLAIN}'s (bar 1.00)"))
        added = _added(blocks, mode)
        lines.append(verdict(added <= 1.0, f"{mode}: {added:+.2f} ms p50 at 1 at once (bar 1.00)"))
        if {16, 256} <= set(at_once):
            growth = _median(blocks, OURS, mode, 256, "cpu_ms") / _median(blocks, OURS, mode, 16, "cpu_ms")
            lines.append(verdict(growth <= 1.5, f"{mode}: CPU at 256 is {growth:.2f} times that at 16 (bar 1.50)"))
    return lines


def _median(blocks: Blocks, name: str, mode: str, at_once: int, key: str) -> float:
    return statistics.median(block[key] for block in blocks[name, mode, at_once])


def _ratio(blocks: Blocks, other: str, mode: str, at_once: int) -> float:
    pairs = zip(blocks[OURS, mode, at_once], blocks[other, mode, at_once], strict=True)
    return statistics.median(ours["cpu_ms"] / theirs["cpu_ms"] for ours, theirs in pairs)


def _added(blocks: Blocks, mode: str) -> float:
    pairs = zip(blocks[OURS, mode, 1], blocks[PLAIN, mode, 1], strict=True)
    return statistics.median(ours["p50_ms"] - theirs["p50_ms"] for ours, theirs in pairs)


if __name__ == "__main__":
    main()
