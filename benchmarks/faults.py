"""How calls end while the primary model fails: RoutedChatModel against ModelFallbackMiddleware and litellm.

    python benchmarks/faults.py [--quick] [--peer-python ENV/bin/python]

The loopback provider breaks a share of the primary's answers; two other models are healthy. An answer is right if its
text is exactly the expected text; a failure is reported if the call raises; anything else is silently wrong. First all
kinds of faults are mixed, for every contender; then each kind alone, for RoutedChatModel.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from contenders import PRIMARY
from stage import Provider, Worker, WorkerFailed, at_work, count, parser, program, provider, table, verdict

OURS = "pointsman"
MODES = ("plain", "streamed")
SHARES = (0.1, 0.5, 1.0)
# Seconds a model may be silent, for every contender.
_SECONDS = 0.5
_AT_ONCE = 16
# A primary with one of these faults never gives a usable answer.
_DEAD = frozenset(
    ["rate_limit", "server_error", "unavailable", "overloaded", "auth", "permission", "not_found", "hang", "reset"]
)
# Faults that can be detected from text alone; bad_request is the caller's mistake, which no other model can fix.
_MIXED = (
    *sorted(_DEAD), "context_overflow", "cut_stream", "tidy_cut", "stall", "error_in_stream", "malformed_json",
    "truncation", "refusal", "empty", "wrong_model",
)  # fmt: skip
_STRUCTURED = "bad_tool_arguments"
_SCHEMA = {
    "title": "note",
    "description": "A note.",
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}
_NOTE = {"text": "All is well."}
# Calls before the faults begin, so that connections exist and the breaker has seen the primary healthy.
_WARM_UP = 48


@dataclass(frozen=True)
class Outcome:
    """The outcome of one block of calls.

    Attributes:
        asked: Requests that reached the primary, as a share of the calls.
        wasted_tokens: Tokens billed for broken answers.
        wasted_usd: Their price; None if the price table has none.
    """

    right: int
    reported: int
    wrong: int
    p95_ms: float
    asked: float
    wasted_tokens: int
    wasted_usd: float | None
    examples: dict[str, str]


def main() -> None:
    """Measure and print."""
    options = _options()
    began = time.monotonic()
    with provider() as played:
        workers = _workers(options)
        with at_work(workers):
            lines = _mixed(played, workers, options)
            lines += _each(played, workers[0], options)
    print(f"\n{time.monotonic() - began:.0f} s in all\n")
    for line in lines:
        print(line)


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--quick", action="store_true", help="60 calls instead of 1,000, and 100 %% faults only")
    arguments.add_argument("--calls", type=count, help="calls of each kind (default 1000, quick 60)")
    arguments.add_argument("--kinds", nargs="*", help="only these faults in the second part", metavar="KIND")
    arguments.add_argument(
        "--peer-python", type=program, metavar="PATH", help="interpreter of an environment with litellm"
    )
    options = arguments.parse_args()
    options.calls = options.calls or (60 if options.quick else 1000)
    options.shares = SHARES[-1:] if options.quick else SHARES
    known = (*_MIXED, _STRUCTURED)
    for kind in options.kinds or ():
        if kind not in known:
            arguments.error(f"unknown fault {kind!r}; there are {', '.join(known)}")
    options.kinds = known if options.kinds is None else options.kinds
    return options


def _workers(options: argparse.Namespace) -> list[Worker]:
    workers = [Worker(OURS), Worker("fallback-middleware")]
    if options.peer_python:
        workers.append(Worker("litellm-router", options.peer_python))
    else:
        print("litellm-router is left out: give --peer-python an environment with litellm\n")
    return workers


def _mixed(played: Provider, workers: list[Worker], options: argparse.Namespace) -> list[str]:
    rows: list[list[str]] = []
    lines: list[str] = []
    for mode in MODES:
        for worker in list(workers):
            try:
                well = _run(played, worker, mode, [], options.calls)
                outcomes = [
                    _run(played, worker, mode, _chances(_MIXED, share), options.calls) for share in options.shares
                ]
            except WorkerFailed as failure:
                if worker.contender == OURS:
                    raise SystemExit(str(failure)) from None
                workers.remove(worker)
                worker.close()
                print(f"{worker.contender} is left out: {failure}\n")
                continue
            for share, outcome in zip(options.shares, outcomes, strict=True):
                name = f"{mode} {share:.0%} / {worker.contender}"
                rows.append([name, *_cells(outcome, well.p95_ms)])
                if worker.contender == OURS:
                    lines += _judged(outcome, f"{mode}, {share:.0%} mixed faults", options.calls)
    print(f"{len(_MIXED)} kinds of fault mixed, {options.calls} calls, {_AT_ONCE} at once, time-out {_SECONDS} s\n")
    print(table(_HEAD, rows), flush=True)
    return lines


def _each(played: Provider, worker: Worker, options: argparse.Namespace) -> list[str]:
    rows: list[list[str]] = []
    lines: list[str] = []
    for mode in MODES:
        well = _run(played, worker, mode, [], options.calls)
        for kind in options.kinds:
            for share in options.shares:
                outcome = _run(played, worker, mode, _chances([kind], share), options.calls)
                rows.append([f"{mode} {share:.0%} {kind}", *_cells(outcome, well.p95_ms)])
                lines += _judged(outcome, f"{mode}, {share:.0%} {kind}", options.calls, quiet=True)
                # With fewer calls, those that start together before the fault is known already exceed the bar.
                if share == 1.0 and kind in _DEAD and 0.02 * options.calls >= _AT_ONCE:
                    lines += _judged_dead(outcome, f"{mode}, {kind}", well.p95_ms)
    print(f"\neach kind alone, {OURS}\n")
    print(table(_HEAD, rows), flush=True)
    return lines


_HEAD = ("", "right", "reported", "silently wrong", "asked primary", "added p95 ms", "wasted tokens", "wasted USD")


def _cells(outcome: Outcome, well_ms: float) -> list[str]:
    usd = "unknown" if outcome.wasted_usd is None else f"{outcome.wasted_usd:.4f}"
    counts = map(str, (outcome.right, outcome.reported, outcome.wrong))
    return [*counts, f"{outcome.asked:.1%}", f"{outcome.p95_ms - well_ms:+.0f}", str(outcome.wasted_tokens), usd]


def _judged(outcome: Outcome, what: str, calls: int, *, quiet: bool = False) -> list[str]:
    met = outcome.right >= 0.999 * calls and outcome.wrong == 0
    if met and quiet:
        return []
    example = "".join(f"\n       {kind}, for one: {text}" for kind, text in outcome.examples.items())
    return [verdict(met, f"{what}: {outcome.right} right, {outcome.wrong} silently wrong{example}")]


def _judged_dead(outcome: Outcome, what: str, well_ms: float) -> list[str]:
    added = outcome.p95_ms - well_ms
    met = outcome.asked <= 0.05 and added <= 50
    return [verdict(met, f"dead primary, {what}: asked {outcome.asked:.1%} (bar 5 %), {added:+.0f} ms (50)")]


def _run(played: Provider, worker: Worker, mode: str, rules: list[dict[str, Any]], calls: int) -> Outcome:
    structured = any(rule["fault"] == _STRUCTURED for rule in rules)
    well: list[dict[str, Any]] = []
    if structured:
        answer = {"tool_calls": [{"name": _SCHEMA["title"], "arguments": _NOTE}]}
        rules, well = [*({**rule, "answer": answer} for rule in rules), {"answer": answer}], [{"answer": answer}]
    judge: Any = {"do": "judge", "mode": mode, "at_once": _AT_ONCE, "expected": str(_NOTE) if structured else None}
    played.play(well, "openai", "deepseek", "openrouter")
    # Built anew, so that knowledge of one fault does not help with the next.
    worker.tell(do="build", url=played.url, seconds=_SECONDS, schema=_SCHEMA if structured else None)
    worker.tell(**judge, calls=_WARM_UP)
    played.play(rules, "openai", "deepseek", "openrouter")
    told: Any = worker.tell(**judge, calls=calls)
    served = played.log()
    broken = [record for record in served if record["fault"] is not None]
    costs = [record["cost_usd"] for record in broken]
    return Outcome(
        **told,
        asked=sum(record["model"] == PRIMARY for record in served) / calls,
        wasted_tokens=sum(record["input_tokens"] + record["output_tokens"] for record in broken),
        wasted_usd=None if None in costs else sum(costs),
    )


def _chances(kinds: Iterable[str], share: float) -> list[dict[str, Any]]:
    """Return rules that together break ``share`` of the primary's answers, all kinds equally often."""
    kinds = list(kinds)
    rules = []
    left = 1.0
    for kind in kinds:
        each = share / len(kinds)
        # Rules are tried in order, so each one's probability refers to the requests that the rules before it let pass.
        chance = min(1.0, each / left)
        left -= each
        rule: dict[str, Any] = {"match": {"model": PRIMARY, "probability": chance}, "fault": kind}
        if kind == "wrong_model":
            rule["fault"] = {"kind": kind, "model": "gpt-4o-mini"}
            rule["answer"] = "I am another model, and this is my answer."
        rules.append(rule)
    return rules


if __name__ == "__main__":
    main()
