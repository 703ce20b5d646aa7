"""Shared by the mutation sampling: a copy of the tree in which files are changed, and its tests run.

Tests run in forks of this process, which imports what earlier forks had to import: libraries, and of the package only
those parts that import no part with mutants.
"""

from __future__ import annotations

import compileall
import gc
import importlib
import json
import multiprocessing
import os
import py_compile
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Copy", "run_tests"]

_ROOT = Path(__file__).resolve().parent.parent
_LEFT_OUT = shutil.ignore_patterns(".git", "build", "*.egg-info", "__pycache__", ".*_cache", ".venv", ".hypothesis")
_ROOMS = "configs|backends|tools|simulator"
"""The parts of the package that import no part with mutants."""
_FORKS = multiprocessing.get_context("fork")


class Copy:
    """A copy of the tree, with the environment that its tests run in.

    Args:
        work: The folder it lies in.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self.tree = work / "tree"
        self.python = work / "env" / "bin" / "python"
        self._original = work / "original.json"

    def make(self) -> None:
        """Copy and install, unless done already."""
        if (self.work / "made").exists():
            self._restore()
            return
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(_ROOT, self.tree, ignore=_LEFT_OUT)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.work / "env"], check=True)
        [site] = (self.work / "env" / "lib").glob("python*/site-packages")
        # The copy takes precedence over a pointsman installed in the other environment.
        link = self.work / "package"
        link.mkdir()
        (link / "pointsman").symlink_to(self.tree, target_is_directory=True)
        others = [path for path in sys.path if path.endswith("site-packages")]
        (site / "copy.pth").write_text("\n".join([str(link), *others]) + "\n")
        # Compiled files are checked by hash, since a mutant may have the second and size of its original.
        compileall.compile_dir(self.tree, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        (self.work / "made").touch()

    @contextmanager
    def mutated(self, file: str, code: str) -> Iterator[None]:
        """Replace the code of a file in the tree during the block."""
        original = (self.tree / file).read_text(encoding="utf-8")
        # If this process is killed meanwhile, the next one restores the file.
        self._original.write_text(json.dumps([file, original]), encoding="utf-8")
        (self.tree / file).write_text(code, encoding="utf-8")
        try:
            yield
        finally:
            self._restore()

    def _restore(self) -> None:
        if self._original.exists():
            file, original = json.loads(self._original.read_text(encoding="utf-8"))
            (self.tree / file).write_text(original, encoding="utf-8")
            self._original.unlink()

    def tests(self, names: list[str], *, seconds: float | None = None) -> tuple[int | None, float]:
        """Run tests until one fails; return the exit code, None if the time ran out, and the seconds it took.

        Args:
            names: Files or test ids.
            seconds: How long they may take.
        """
        return self.run(run_tests, ["-x", *names], seconds=seconds)

    def run(self, work: Callable[..., int], *arguments: Any, seconds: float | None = None) -> tuple[int | None, float]:
        """Call a function in a separate process in the tree; return its result and time as `tests` does."""
        scratch = self.work / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        libraries = self.work / "libraries.json"
        began = time.monotonic()
        gc.freeze()
        process = _FORKS.Process(target=self._inside, args=(scratch, libraries, work, *arguments))
        process.start()
        process.join(seconds)
        code = process.exitcode
        # End all processes that a mutant has started.
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        taken = time.monotonic() - began
        if libraries.exists():
            _import(json.loads(libraries.read_text()))
            libraries.unlink()
        return code, taken

    def _inside(self, scratch: Path, libraries: Path, work: Callable[..., int], *arguments: Any) -> None:
        os.setsid()
        # A shell starts background jobs with SIGINT ignored, but some tests send Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(self.tree)
        output = os.open(self.work / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(output, number)
        os.environ |= {"HOME": str(scratch), "PYTEST_DEBUG_TEMPROOT": str(scratch)}
        sys.path.remove(str(_ROOT / "benchmarks"))
        code = work(*arguments)
        libraries.write_text(json.dumps(_libraries()))
        sys.stdout.flush()
        os._exit(code)


def run_tests(arguments: list[str], *plugins: object) -> int:
    """Run pytest in this process and return its exit code.

    Args:
        arguments: Those of its command line.
        plugins: Its plugins besides the installed ones.
    """
    # Assertion rewriting would make each fork parse the whole package again.
    fixed = ["-q", "--assert=plain", "-p", "no:cacheprovider", "-n", "0"]
    return int(pytest.main([*fixed, *arguments], plugins=plugins))


def _libraries() -> list[str]:
    """Return the imported modules that run no code of the parts with mutants, nor of parts that import those."""
    other = re.compile(rf"pointsman\.(?!({_ROOMS})\b)|tests|conftest|_?pytest|_?hypothesis")
    return [
        name
        for name, module in list(sys.modules.items())
        if not other.match(name)
        and re.search("site-packages|/package/pointsman/", str(getattr(module, "__file__", "")))
    ]


def _import(names: list[str]) -> None:
    for name in names:
        if name not in sys.modules:
            with suppress(Exception):
                importlib.import_module(name)
    assert not re.search(rf"^pointsman\.(?!({_ROOMS})\b)", "\n".join(sys.modules), re.MULTILINE)
