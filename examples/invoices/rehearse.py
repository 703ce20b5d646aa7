"""Thirty invoices read by scripted models that make real ones' mistakes; files, pages, checks and routing are real.

python examples/invoices/rehearse.py
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from flow import invoices
from papers import Paper, papers
from pointsman import Runtime, load
from pointsman.simulator import Answer, Fault, Match, Rule, Scenario, Simulator, ToolCall

MISTAKES = (
    "none", "wrong total", "wrong amount", "no citation", "page that is not there", "words that stand elsewhere",
    "box around the page", "a field that is not there", "answer broken off", "overloaded", "refusal",
)  # fmt: skip
_KEYS = {name: "not-a-real-key" for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GOOGLE_API_KEY")}
_FAULTS = {"answer broken off": "malformed_json", "overloaded": "overloaded", "refusal": "refusal"}


def mistake_of(number: int) -> str:
    """The mistake that is made at the first attempt of an invoice."""
    return MISTAKES[number % len(MISTAKES)]


def script(made: list[Paper]) -> Scenario:
    """What the models say: the first time with a mistake, then what the invoice says."""
    asked: Counter[int] = Counter()

    def answer(request: Any) -> Answer:
        words = " ".join(message.text for message in request.messages)
        number = int(re.findall(r"Read invoice (\d+)\.", words)[-1])
        asked[number] += 1
        first = asked[number] == 1 and mistake_of(number) not in _FAULTS
        said = _said(made[number - 1], words, mistake_of(number) if first else "none")
        return Answer(tool_calls=(ToolCall("CitedInvoice", said),))

    faults = [
        Rule(match=Match(contains=f"Read invoice {number}.", first=1), fault=Fault(_FAULTS[mistake_of(number)]))
        for number in range(1, len(made) + 1)
        if mistake_of(number) in _FAULTS
    ]
    return Scenario(rules=(*faults, Rule(answer=answer)))


def _said(paper: Paper, shown: str, mistake: str) -> dict[str, Any]:
    lines = {text: int(number) for number, text in re.findall(r"^(\d+): (.*)$", shown, re.M)}
    citations = [
        {"field": field, "page": 1, "text": text, **({"line": lines[text]} if text in lines else {"box": list(box)})}
        for field, (text, box) in paper.places.items()
    ]
    values = {**paper.says, "positions": [dict(position) for position in paper.says["positions"]]}
    total = next(citation for citation in citations if citation["field"] == "total")
    if mistake == "wrong total":
        values["total"] = round(values["total"] + 1, 2)
        total["text"] = f"{values['total']:.2f}"
    elif mistake == "wrong amount":
        values["positions"][0]["amount"] += 10
    elif mistake == "no citation":
        citations.remove(total)
    elif mistake == "page that is not there":
        total["page"] = 9
    elif mistake == "words that stand elsewhere":
        total |= {"line": 1} if lines else {"box": [0.9, 0.2, 0.1, 0.3]}
    elif mistake == "box around the page":
        total |= {"box": [0, 0, 1, 1], "line": None}
    elif mistake == "a field that is not there":
        citations.append({**total, "field": "discount"})
    return {"values": values, "citations": citations}


def rehearse(made: list[Paper], folder: Path) -> list[tuple[Paper, Any]]:
    """Read every invoice in a project of its own and give the results."""
    with Simulator(script(made)) as simulator:
        urls = {
            f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL": simulator.url(vendor)
            for vendor in ("anthropic", "openai", "google")
        }
        home = Runtime(load(folder, environ={**_KEYS, **urls}))
        results = []
        for number, paper in enumerate(made, 1):
            path = folder / paper.name
            path.write_bytes(paper.data)
            results.append((paper, invoices.run(f"Read invoice {number}.", files=[path], runtime=home)))
        home.close()
    return results


def main() -> None:
    """Read them all and print what came out."""
    print("The models' words are scripted; files, pages, checks and routing are real.\n")
    print("invoice          mistake of the first attempt   status  attempts  calls  fields cited by page and box")
    right = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (paper, result) in enumerate(rehearse(papers(), Path(folder)), 1):
            cited = sum(1 for one in result.output.citations if one.page and one.box) if result.output else 0
            right += bool(result.output) and result.output.values.model_dump() == paper.says
            attempts = f"{len(result.steps):8}  {len(result.calls):5}"
            print(
                f"{paper.name:16} {mistake_of(number):30} {result.status:6}  {attempts}  {cited} of {len(paper.places)}"
            )
    print(f"\n{right} of {len(papers())} right, each field with its page and box")


if __name__ == "__main__":
    main()
