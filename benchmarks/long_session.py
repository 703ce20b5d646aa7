"""A session of many turns with a token budget: does it keep its task and open to-dos, and what does a turn cost?

    python benchmarks/long_session.py --turns 200 --context 32000

The built-in coding agent reads another part of a file in each turn; the provider is simulated on loopback and counts
tokens.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from pointsman import Agent, Runtime, load
from pointsman.simulator import Answer, Rule, Scenario, Simulator
from stage import options, simulated

TASK = "Mend the seventh rule of the parser, and nothing else."
OPEN = ("mend the seventh rule", "tell the user about the eighth")
TODOS = [
    {"content": "read the parser", "status": "completed"},
    {"content": OPEN[0], "status": "in_progress"},
    {"content": OPEN[1], "status": "pending"},
]


def session(turns: int, context: int | None) -> tuple[list[int], int, int]:
    """Return the input tokens of each turn, and in how many turns the task and the open to-dos were in the request."""
    seen: list[Any] = []

    def answer(request: Any) -> Answer:
        seen.append(request)
        at = len(seen) - 1
        if at == 3:
            return Answer(tool_calls=[{"name": "write_todos", "arguments": {"todos": TODOS}}])
        if at < turns - 1:
            arguments = {"path": "parser.txt", "first_line": at + 1, "line_count": 40}
            return Answer(tool_calls=[{"name": "read_file", "arguments": arguments}])
        return Answer(text="It is mended.")

    with tempfile.TemporaryDirectory() as folder, Simulator(Scenario(rules=[Rule(answer=answer)])) as simulator:
        lines = (f"rule {number} of a parser that is longer than one would like" for number in range(turns + 40))
        Path(folder, "parser.txt").write_text("\n".join(lines))
        with Runtime(load(Path(folder), environ=simulated(simulator.base_url, "anthropic"))) as home:
            result = Agent.named("coding", home, turns=turns, context=context).run(TASK, runtime=home)
    texts = ["\n".join([*(m.text for m in one.messages), str(one.messages)]) for one in seen]
    kept = sum(all(todo in text for todo in OPEN) for text in texts[4:])
    return [call.usage.input for call in result.calls if call.usage], sum(TASK in text for text in texts), kept


def main() -> None:
    """Print the cost of a turn with the budget and, for as many turns as fit in a request, without."""
    asked = options(__doc__, turns=(200, "turns of the session"), context=(32_000, "the budget in tokens"))
    for context in (asked.context, None):
        tokens, task, todos = session(asked.turns, context)
        blocks = [tokens[at : at + 50] for at in range(0, len(tokens), 50)]
        means = ", ".join(f"{sum(block) / len(block):,.0f}" for block in blocks)
        print(f"context {context}: tokens a turn, mean of each 50: {means}; most {max(tokens):,}; all {sum(tokens):,}")
        print(
            f"  the task was in view in {task} of {len(tokens)} turns, the open to-dos in {todos} of {len(tokens) - 4}"
        )


if __name__ == "__main__":
    main()
