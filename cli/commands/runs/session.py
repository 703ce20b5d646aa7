"""``pointsman chat`` and ``code``: a conversation at the terminal, one run a turn."""

from __future__ import annotations

import signal
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ... import options
from ...errors import ExitCode, judge
from ...io.live import Live
from ...io.outcome import TARGET_TAG, Approval, Bounds, added_up, answered, report_run, sum_up, unbroken
from ...io.output import paint, progress, result, visible
from ...io.target import DEFAULT, found_target, is_named, read_with
from ...signals import end_cleanly, received, run_to_end
from .run import ApprovalOption

if TYPE_CHECKING:
    from ....agents.result import RunResult
    from ....agents.runtime import Runtime
    from ....graphs.workflow import Workflow
    from ....ledger.rows import CallRow

__all__ = ["register"]

_CODER: Final = "coding"
_HELP: Final = """\
/resume     go on with the run that was stopped, or that waits for you
/diff       what the last run changed in files
/undo       put that back
/quit       end; so does Ctrl-D. Ctrl-C stops what runs, and keeps it"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("chat")(chat)
    app.command("code")(code)


def chat(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="file.py:name, module:name or a name of agents.yaml.")
    ] = DEFAULT,
    thread: options.Thread = None,
    max_cost: options.MaxCost = None,
    approval: ApprovalOption = "ask",
    workspace: options.Workspace = None,
    sandbox: options.Sandbox = None,
    config: options.Config = None,
    offline: options.Offline = False,
    overrides: options.Set = None,
) -> None:
    """Talk with a workflow or an agent: a run for each line, all of one conversation. --max-cost bounds each run."""
    from ...settings import opened

    who = None if approval == "ask" else False
    with opened(
        config, offline=offline, overrides=overrides, workspace=workspace, sandbox=sandbox, attended=who
    ) as runtime:
        workflow = found_target(target, runtime)
        if not is_named(target, runtime):
            runtime.protect(read_with(target))
        bounds = Bounds(max_cost=max_cost, tags=(TARGET_TAG + target,))
        again = options.again(config, workspace, overrides, offline=offline)
        _Session(workflow, runtime, thread or _new_thread(), bounds, approval, again).hold()


def code(
    thread: options.Thread = None,
    max_cost: options.MaxCost = None,
    approval: ApprovalOption = "ask",
    workspace: options.Workspace = None,
    sandbox: options.Sandbox = None,
    config: options.Config = None,
    offline: options.Offline = False,
    overrides: options.Set = None,
) -> None:
    """Have the coding agent work in this folder, in a conversation. --max-cost bounds each run."""
    chat(_CODER, thread, max_cost, approval, workspace, sandbox, config, offline, overrides)


def _new_thread() -> str:
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + uuid.uuid4().hex[:4]


class _Session:
    """A conversation: what is typed is asked, until somebody quits."""

    def __init__(
        self,
        workflow: Workflow[Any],
        runtime: Runtime,
        thread: str,
        bounds: Bounds,
        approval: Approval,
        again: list[str],
    ) -> None:
        self._workflow = workflow
        self._runtime = runtime
        self._thread = thread
        self._bounds = bounds
        self._approval = approval
        self._again = again
        self._run = ""
        self._open = False
        self._diff = ""
        self._calls: list[CallRow] = []

    def hold(self) -> None:
        """Read lines and act on them."""
        with suppress(ImportError):
            import readline  # noqa: F401 - gives `input` its history
        end_cleanly()
        progress(f"{self._workflow.name} in {self._runtime.workspace}, conversation {self._thread}")
        progress("/help says more")
        while (said := self._read()) is not None:
            match said.split():
                case []:
                    continue
                case ["/quit"]:
                    return
                case ["/help"]:
                    progress(_HELP)
                case ["/diff"]:
                    result(self._diff.rstrip("\n") or "nothing was changed")
                case ["/undo"]:
                    self._undo()
                case ["/resume"] if self._run and self._open:
                    self._turn(None)
                case ["/resume"]:
                    progress("no run of this conversation was stopped")
                case [word, *_] if word.startswith("/"):
                    progress(f"there is no {visible(word)}; /help lists what there is")
                case _:
                    self._turn(said)

    def _read(self) -> str | None:
        """The next line; None where there is none any more."""
        while True:
            try:
                return input("> ")
            except EOFError:
                progress("")
                return None
            except KeyboardInterrupt:
                if received() != signal.SIGINT:
                    raise
                progress("\nCtrl-D ends the session")

    def _turn(self, said: str | None) -> None:
        """Ask, or go on with what was stopped; whatever ends it ends the turn alone."""
        live = Live(stream=True, acts=True)

        async def work() -> RunResult[Any]:
            arguments: dict[str, Any] = {"runtime": self._runtime, "emit": live.show}
            if said is None:
                first = await self._workflow.aresume(self._run, **arguments)
            else:
                arguments |= {"thread": self._thread, **self._bounds.arguments()}
                first = await self._workflow.arun(said, **arguments)
            return unbroken(await answered(self._workflow, first, self._runtime, live, self._approval))

        try:
            outcome = run_to_end(work())
        except KeyboardInterrupt:
            if received() != signal.SIGINT:
                raise
            live.close()
            self._run, self._open = live.run or self._run, bool(live.run)
            progress("stopped; what is done is kept" + (": /resume goes on" if self._open else ""))
        except Exception as error:  # noqa: BLE001 - what ends a run must not end the session
            live.close()
            self._run, self._open = live.run or self._run, bool(live.run)
            progress(f"error: {judge(error)[1]}")
        else:
            live.close()
            self._run, self._diff = outcome.run, outcome.diff
            self._open = report_run(outcome, live, json=False, stream=True, again=self._again) is ExitCode.PENDING
            sum_up(replace(outcome, steps=()))
        self._calls += live.calls
        models = ", ".join(dict.fromkeys(f"{call.model} ({call.risk})" for call in live.calls)) or "no model"
        spent = added_up(0, self._calls).partition(", ")[2]
        for footer in (f"-- {models}", f"-- session: {spent}"):
            progress(paint(footer, "bright_black"))

    def _undo(self) -> None:
        from ....agents.journal.undo import undone
        from ....configs.errors import PointsmanError

        try:
            files = undone(self._runtime, self._run) if self._run else ()
        except PointsmanError as error:
            progress(f"error: {judge(error)[1]}")
            return
        for file in files:
            progress(f"{file.change}: {visible(file.path)}")
        if not files:
            progress("there is nothing to be put back")
