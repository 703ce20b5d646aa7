"""The code blocks of the documentation run, without a key and without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pointsman.tools import PROTECTED

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# They install or run everything there is, so the continuous integration runs them itself.
INSTALLS = ("make demo", "pip install")
# Seconds after which a block hangs, on however busy a machine.
_PATIENCE = 600


def _blocks(language: str) -> Iterator[pytest.param]:
    for page in PAGES:
        for number, code in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S), 1):
            if not any(words in code for words in INSTALLS):
                yield pytest.param(code, id=f"{page.name}-{number}")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A shell that is offline, without a key, with ``pointsman`` on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "POINTSMAN_OFFLINE": "1", "PATH": path, "HOME": str(tmp_path)}


@pytest.mark.parametrize("code", [*_blocks("python")])
def test_python_blocks_run(code: str, environment: dict[str, str], programs: Any, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(code, encoding="utf-8")
    done = programs.run([script], cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", [*_blocks("sh")])
def test_shell_blocks_run(code: str, environment: dict[str, str], programs: Any, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    command = programs.command(tmp_path / "bin" / "pointsman", "from pointsman.cli.main import main; main()")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=tmp_path,
        env={**environment, "PATH": os.pathsep.join([str(tmp_path / "bin"), environment["PATH"]])},
        pass_fds=[command],
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr


def test_the_list_of_protected_paths_is_the_one_that_holds() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^The list is closed.*?^```text\n(.*?)^```", text, re.M | re.S)
    assert listed.split() == list(PROTECTED)
