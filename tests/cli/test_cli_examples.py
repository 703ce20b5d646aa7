"""The examples run as their first lines say, without a key."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pointsman.tools import probe

pytestmark = pytest.mark.slow

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


@pytest.mark.skipif(not probe().working, reason=str(probe()))
def test_the_terminal_task_is_done_in_the_sandbox_with_scripted_words_and_says_so(programs: Any, project: Path) -> None:
    ended = programs.run([EXAMPLES / "terminal_task" / "count.py"], cwd=project)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("no key: the words of the models are a script; commands, sandbox and files are real")
    assert ended.stdout.count("run_shell ") == 3
    assert "+++ b/boxes.txt\n@@ -0,0 +1,3 @@\n+Ann 6\n+Bob 1\n+Cem 4\n" in ended.stdout
    assert not (EXAMPLES / "terminal_task" / "deliveries" / "boxes.txt").exists()


def test_an_agent_uses_the_tools_of_the_plug_in_package_once_it_is_installed(
    project: Path, programs: Any, tmp_path: Path
) -> None:
    source = shutil.copytree(EXAMPLES / "plugin", tmp_path / "plugin")
    site = tmp_path / "site"
    code = "import sys\nfrom setuptools import build_meta\nprint(build_meta.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)

    def pointsman(*words: str, installed: bool = True) -> Any:
        # A package is installed where a folder of the path has its metadata.
        path = f"import sys; sys.path += {[str(site)] * installed}"
        command = ["-c", f"{path}\nfrom pointsman.cli.main import main; main()", *words, "--json"]
        return programs.run(command, cwd=project, env={**os.environ, "POINTSMAN_OFFLINE": "1"})

    (project / "clerk.py").write_bytes((source / "clerk.py").read_bytes())
    asks = ("run", "clerk.py:clerk", 'Please parcel_status "P-7"')
    without = pointsman(*asks, installed=False)
    assert (without.returncode, "there is no tool 'parcel_status'" in without.stderr) == (2, True)
    told = json.loads(pointsman(*asks).stdout)
    assert (told["status"], "with the carrier since Monday" in told["output"]) == ("done", True)
    waits = pointsman("run", "clerk.py:clerk", 'Please parcel_return "P-7"')
    (act,) = json.loads(waits.stdout)["pending"]
    assert (waits.returncode, act["tool"], act["effect"]) == (4, "parcel_return", "destructive")
    assert act["sandbox"] == "no command: it runs in this process or its server, outside the sandbox"
    assert act["sources"] == {"parcel": "the task"}
    listed = json.loads(pointsman("tools").stdout)
    assert {"parcel_status", "parcel_return"} <= {tool["name"] for tool in listed}


def test_one_agents_finding_saves_another_the_reading_with_scripted_words_and_says_so(
    programs: Any, project: Path
) -> None:
    ended = programs.run([EXAMPLES / "shared_memory" / "ask.py"], cwd=project)
    assert ended.returncode == 0, ended.stderr
    first, coding, without, sharing, saved = ended.stdout.strip().split("\n\n")
    assert first == "no key: the words of the models are a script; files, tools and memory are real"
    assert ("  4 calls, " in coding, "  kept what it found" in coding) == (True, True)
    assert ("  4 calls, " in without, "recalled" in without) == (True, False)
    assert ("  1 call, " in sharing, "recalled a note by coding, trust untrusted" in sharing) == (True, True)
    assert saved.startswith("saved: 2,")
