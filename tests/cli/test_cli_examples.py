"""The examples run as their first lines say, without a key."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pointsman.tools import probe

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("flow", "text", "status", "steps"),
    [
        ("invoice", "Paper 4.00, ink 11.50, total 15.50", "handed_over", 3),
        ("brief", "The meeting moved to Monday.", "done", 1),
        ("poll", "Is water wet?", "done", 3),
        ("summaries", "The train was late.\nThe bridge is closed.", "done", 2),
    ],
)
def test_each_prebuilt_workflow_of_the_examples_runs_offline(
    pointsman: Any, project: Path, flow: str, text: str, status: str, steps: int
) -> None:
    shutil.copytree(EXAMPLES / "prebuilt", project / "prebuilt")
    ended = pointsman("run", f"prebuilt/flows.py:{flow}", text, "--offline", "--json")
    said = json.loads(ended.stdout)
    # Simulated models fill an invoice with figures that do not add up, so that one is tried thrice and handed over.
    assert (said["status"], len(said["steps"])) == (status, steps), ended.stderr


def test_the_invoices_of_the_examples_are_made_and_read_offline(pointsman: Any, project: Path, programs: Any) -> None:
    shutil.copytree(EXAMPLES / "invoices", project / "examples")
    made = programs.run(["examples/papers.py", "papers"], cwd=project, check=True)
    assert made.stdout == "30 invoices are in papers\n"
    assert len([*(project / "papers").iterdir()]) == 30
    file = "papers/invoice-02.pdf"
    ended = pointsman("run", "examples/flow.py:invoices", "Read the invoice.", "--file", file, "--offline", "--json")
    said = json.loads(ended.stdout)
    # Simulated models cite what does not stand there.
    assert (said["status"], len(said["steps"])) == ("handed_over", 3), ended.stderr


@pytest.mark.skipif(not probe().working, reason=str(probe()))
def test_the_code_fix_mends_a_failing_test_with_scripted_words_and_says_so(programs: Any, project: Path) -> None:
    shop = EXAMPLES / "code_fix" / "shop"
    before = (shop / "prices.py").read_text()
    ended = programs.run([EXAMPLES / "code_fix" / "mend.py"], cwd=project)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(
        "no key: the words of the models are a script; files, patches, sandbox and tests are"
    )
    assert ended.stdout.count("uses apply_patch") == 2
    assert "+    return round(sum(prices) * (1 - discount / 100), 2)\n" in ended.stdout
    assert (shop / "prices.py").read_text() == before
