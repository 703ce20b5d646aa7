"""Does cheap work stay cheap? How many turns run above their agent's declared tier, and which failures raise a turn.

    python benchmarks/cheap.py [--loops 200] [--prompts 500] [--seed 0]

The loopback provider simulates all vendors; everything runs with default settings, through `Agent` and
`RoutedChatModel`. Loops of one to eight turns look things up with read-only tools, rewrite texts, and extract typed
facts. The same loops run again while a tenth of the turns fail once: in half of these the reply's content fails
(another shape than requested, a refusal, a truncation, broken JSON), in the others the provider (429, 5xx, a reset
connection, a time-out).
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from langchain_core.messages import BaseMessage, HumanMessage
from pointsman import Agent, RoutedChatModel, tool
from pointsman.agents.runtime import Runtime
from pointsman.configs.loading.loader import load
from pointsman.configs.words import Tier
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator, ToolCall
from pointsman.simulator.request import Request
from pydantic import BaseModel
from stage import options, simulated, table

DECLARED = Tier.ECONOMY
VENDORS = ("anthropic", "openai", "google", "deepseek")
KINDS = ("look-up", "format", "extract")
CONTENT = ("shape", "refusal", "truncation", "malformed_json")
PROVIDER = ("rate_limit", "server_error", "overloaded", "unavailable", "reset", "hang")
# Seconds a call may take, so that a hang soon becomes a time-out.
CALL_SECONDS = 4.0

SUBJECTS = (
    "coffee", "my bicycle", "the train to Leeds", "a birthday card", "the weather", "tomatoes", "a spare key", "my inbox",
    "the moon", "a wool jumper", "chess", "the office plant", "rain gear", "a phone bill", "a parcel", "the kettle",
    "holidays", "a loaf of bread", "the neighbours", "a museum visit",
)  # fmt: skip
FORMS = (
    "Hello! Tell me about {}.", "Translate 'I like {}' into French.", "What is a good gift for somebody who likes {}?",
    "Summarise in one line what matters about {}.", "Write a two-line note about {}.", "How do I look after {}?",
    "Why do people care about {}?", "Give me three words for {}.", "Is it worth paying more for {}?",
    "Rewrite this politely: where is {}?", "Explain {} to a child.", "List pros and cons of {}.", "Debug my plan for {}.",
    "What could go wrong with {}?", "Plan a morning around {}.", "Make a title about {}.", "Correct: 'I has {}'.",
    "Compare {} with nothing at all.", "Prove that {} matters.", "Turn {} into a haiku.", "Order these: a, {}, c.",
    "How much is {}, roughly?", "Thanks for {}!", "Decide for me: {} or tea?", "Analyse my thoughts on {}.",
)  # fmt: skip


class Facts(BaseModel):
    """The facts in a message."""

    name: str
    amount: int


@tool(effect="read")
def look_up(key: str) -> str:
    """Look a record up."""
    return f"record {key}: sent on Monday, due on Thursday"


@dataclass(frozen=True)
class Loop:
    """One loop of simple work.

    Attributes:
        name: Part of its first message, and with a turn's number of the message of each turn.
        kind: One of `KINDS`.
        turns: Number of model calls.
        faults: Turn, from 0 -> the fault of its first request.
    """

    name: str
    kind: str
    turns: int
    faults: dict[int, str]

    def mark(self, turn: int) -> str:
        """Return a text that is unique to this turn."""
        return f"{self.name}.{turn};"


def loops(count: int, share: float, seed: int) -> list[Loop]:
    """Make loops of every kind and length; a share of their turns fails."""
    rng = random.Random(seed)
    sizes = [(KINDS[number % 3], 1 + number // 3 % 8) for number in range(count)]
    places = [(number, turn) for number, (_, turns) in enumerate(sizes) for turn in range(turns)]
    broken = rng.sample(places, round(len(places) * share))
    kinds = {
        place: (CONTENT if n % 2 else PROVIDER)[n // 2 % 4 if n % 2 else n // 2 % 6] for n, place in enumerate(broken)
    }
    made = []
    for number, (kind, turns) in enumerate(sizes):
        faults = {turn: kinds[number, turn] for turn in range(turns) if (number, turn) in kinds}
        made.append(Loop(f"loop-{number}", kind, turns, faults))
    return made


def rules(work: Sequence[Loop]) -> Iterator[Rule]:
    """Yield a fault for the first request of each failing turn, and good answers for all other requests."""
    for loop in work:
        for turn, kind in loop.faults.items():
            match = Match(contains_any_message=loop.mark(turn), first=1)
            if kind == "shape":
                yield Rule(match=match, answer=Answer(tool_calls=(ToolCall("Facts", {"name": 7}),)))
            else:
                yield Rule(match=match, fault=Fault(kind))  # type: ignore[arg-type]  # the simulator's names
    yield Rule(answer=_answer)


def _answer(request: Request) -> Answer:
    """Return a call that looks up the next record, a filled schema, or a text."""
    said = " ".join(message.text for message in request.messages)
    names = {one.name for one in request.tools}
    if "look_up" in names:
        turns, done = int(said.partition("turns=")[2].split()[0]), said.count("record loop-")
        name = said.partition("loop=")[2].split()[0]
        if done + 1 < turns:
            return Answer(tool_calls=(ToolCall("look_up", {"key": f"{name}.{done + 1};"}),))
    if "Facts" in names:
        return Answer(tool_calls=(ToolCall("Facts", {"name": "Ada", "amount": 7}),))
    return Answer(text="Here it is.")


def run(loop: Loop, runtime: Runtime) -> None:
    """Run one loop to its end."""
    if loop.kind == "look-up":
        agent = Agent("looker", tier=DECLARED, instructions="Look it up.", tools=[look_up]).on(runtime)
        agent.invoke(f"Find it. loop={loop.name} turns={loop.turns} {loop.mark(0)}")
        return
    output = Facts if loop.kind == "extract" else None
    agent = Agent("clerk", tier=DECLARED, instructions="Do as told.", output=output).on(runtime)
    messages: list[BaseMessage] = []
    for turn in range(loop.turns):
        messages.append(HumanMessage(f"The next one: {loop.mark(turn)}"))
        messages += agent.invoke({"messages": messages})["messages"]


def measured(runtime: Runtime) -> tuple[int, int, Counter[str], Counter[tuple[str, bool]]]:
    """Return the turns, those above the declared tier, the models, and how often each failure raised its turn."""
    runtime.ledger.flush()
    tiers: dict[str, list[tuple[str | None, Tier]]] = {}
    models: Counter[str] = Counter()
    for call in sorted(runtime.ledger.calls(), key=lambda row: (row.decision, row.attempt)):
        tiers.setdefault(call.decision, []).append((call.failure, Tier(call.tier)))
        models[call.model] += call.failure is None
    rose: Counter[tuple[str, bool]] = Counter()
    for calls in tiers.values():
        for (failure, tier), (_, then) in pairwise(calls):
            rose[str(failure), then > tier] += 1
    return len(tiers), sum(calls[-1][1] > DECLARED for calls in tiers.values()), models, rose


def played(simulator: Simulator, folder: Path) -> Runtime:
    """Return a runtime with default settings whose vendors are simulated."""
    environ = simulated(simulator.base_url, *VENDORS)
    return Runtime(load(folder, environ=environ, flags={"routing.limits.call": CALL_SECONDS}))


def main() -> None:
    """Measure and print."""
    prompts = "everyday prompts, of 500 that there are"
    given = options(__doc__, loops=(200, "loops"), prompts=(500, prompts), seed=(0, "of the faults"))
    rows = []
    for name, share in (("no faults", 0.0), ("a tenth of the turns fails", 0.1)):
        work = loops(given.loops, share, given.seed)
        with Simulator(Scenario(rules=tuple(rules(work)))) as simulator, tempfile.TemporaryDirectory() as folder:
            runtime = played(simulator, Path(folder))
            for loop in work:
                run(loop, runtime)
            turns, above, models, rose = measured(runtime)
            runtime.close()
        rows.append([name, str(turns), str(above), f"{100 * above / turns:.1f} %"])
        print(f"{name}: {dict(models)}")
        for kind in sorted({kind for kind, _ in rose}):
            print(f"  {kind:<15} {rose[kind, True]:3} rose, {rose[kind, False]:3} stayed in their tier")
    with Simulator() as simulator, tempfile.TemporaryDirectory() as folder:
        runtime = played(simulator, Path(folder))
        model = RoutedChatModel(dispatcher=runtime.dispatcher)
        asked = [form.format(subject) for subject in SUBJECTS for form in FORMS][: given.prompts]
        for prompt in asked:
            model.invoke(prompt)
        turns, above, _, _ = measured(runtime)
        runtime.close()
    rows.append(["everyday prompts, nothing declared", str(turns), str(above), f"{100 * above / turns:.1f} %"])
    print()
    print(table(["", "turns", "above economy", "share"], rows))


if __name__ == "__main__":
    main()
