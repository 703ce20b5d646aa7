"""Tests of the desk: no key, no network beyond this machine."""

import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent
sys.path.insert(0, str(PROJECT))

import desk  # noqa: E402
from pointsman import Runtime, Workflow  # noqa: E402
from pointsman.configs.loading.loader import load  # noqa: E402


def runtime(state: Path, **environ: str) -> Runtime:
    """A runtime that sees no key but those given, and keeps its state in a folder of the test's own."""
    return Runtime(load(PROJECT, environ=environ, flags={"state": str(state)}))


def test_a_question_is_answered_with_a_quote_from_the_knowledge(tmp_path: Path) -> None:
    result = desk.flow.run("How long does delivery take?", runtime=runtime(tmp_path))

    assert result.output.intent == "delivery"
    assert "2 to 4 working days" in result.output.quote


def test_a_hacked_account_goes_to_a_person_when_there_is_no_key(tmp_path: Path) -> None:
    result = desk.flow.run("I think my account was hacked.", runtime=runtime(tmp_path))

    assert result.status == "handed_over"
    assert result.output.risk == "high"


# The fixture `simulator` comes with Pointsman: it plays the providers on this machine, so that the vendors' own client
# libraries are in the test too.
def test_the_orders_agent_looks_the_order_up(tmp_path: Path, simulator: Any) -> None:
    home = runtime(tmp_path, OPENAI_API_KEY="simulated", POINTSMAN_PROVIDERS__OPENAI__BASE_URL=simulator.url("openai"))
    result = Workflow("orders", [desk.orders]).run("What is the order status of A-1001?", runtime=home)

    assert "The tool returned" in result.output
    assert {call.model.partition("/")[0] for call in result.calls} == {"openai"}
