"""`Session`: each typed line starts a run, until the user leaves; an error in a run ends only that turn."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from ...configs.errors import PointsmanError
from ..errors import ExitCode, judge
from ..io.outcome import ENDED, Approval, refusals
from ..io.output import line, visible
from ..signals import received
from .base import Answer, Ask, Command, Face, Left

if TYPE_CHECKING:
    from ...agents.bounds import Bounds
    from ...agents.result import RunResult
    from ...agents.runtime import Runtime
    from ...graphs.workflow import Workflow
    from ..io.live import Live

__all__ = ["COMMANDS", "Session"]

COMMANDS: Final = {
    "help": "this list",
    "resume": "go on with the run that was stopped, or that waits for you",
    "diff": "what the last run changed in files",
    "undo": "put that back",
    "cost": "what the session has cost",
    "quit": "leave; so do Ctrl-D, and Ctrl-C twice",
}
_KEYS: Final = "Ctrl-C stops what runs, and keeps it."
_FILE: Final = re.compile(r"^(?:--- a|\+\+\+ b|diff --git a/(.*) b(?=/\1$))/(.*)$", re.MULTILINE)


class Session:
    """A conversation with a workflow.

    Args:
        face: The interface to its user.
        workflow: The workflow to talk with.
        runtime: The runtime it runs on.
        thread: Name of the conversation.
        bounds: The bounds of each run.
        approval: Whether a person is asked about critical acts.
        left: The unfinished run that an earlier session left.
    """

    def __init__(
        self,
        face: Face,
        workflow: Workflow[Any],
        runtime: Runtime,
        thread: str,
        bounds: Bounds,
        approval: Approval,
        left: Left | None = None,
    ) -> None:
        self._face = face
        self._workflow = workflow
        self._runtime = runtime
        self._thread = thread
        self._bounds = bounds
        self._approval = approval
        self._run = left.run if left else ""
        self._open = left is not None
        self._diff = ""
        self._noted: list[str] = []
        self._pressed = False
        self._code = ExitCode.DONE
        self._left = left

    def hold(self) -> ExitCode:
        """Handle requests until the user leaves; return the exit code of the command."""
        self._face.began(self._workflow.name, self._thread, self._left)
        while True:
            try:
                if self._over():
                    break
            except KeyboardInterrupt:
                if received() != signal.SIGINT:
                    raise
                if self._left_by_key():
                    break
        return ExitCode.DONE if self._face.attended else self._code

    def _over(self) -> bool:
        """Handle one request; return whether it was the last."""
        try:
            request = self._face.request()
        except PointsmanError as error:
            self._fail(error)
            return False
        self._pressed = False
        match request:
            case None | Command("quit"):
                return True
            case Ask(text):
                self._turn(lambda live: self._begun(text, live))
            case Answer(answers):
                self._again(answers)
            case Command("resume"):
                self._again(None)
            case Command("help"):
                for name, said in COMMANDS.items():
                    self._face.say(f"/{name:<8} {said}")
                self._face.say(_KEYS)
            case Command("diff"):
                self._face.say(visible(self._diff.rstrip("\n")) or "nothing was changed")
            case Command("undo"):
                self._undo()
            case Command("cost"):
                self._face.say(f"session: {self._face.spent.total}")
            case Command(_, text):
                self._face.say(f"there is no {line(text.split()[0])}; /help lists what there is")
        return False

    def _left_by_key(self) -> bool:
        """Return whether this Ctrl-C leaves the session: the second in a row does."""
        if self._pressed:
            return True
        self._pressed = True
        self._face.say("Ctrl-C again leaves, and so does Ctrl-D")
        return False

    def _again(self, answers: Any) -> None:
        """Continue the run that was stopped or waits."""
        if not self._open:
            self._face.failed("no run of this conversation was stopped, and none waits")
            return
        self._turn(
            lambda live: self._workflow.aresume(
                self._run, answers, runtime=self._runtime, emit=self._emitting(live), **self._kept_bounds()
            )
        )

    def _begun(self, text: str, live: Live) -> Coroutine[Any, Any, RunResult[Any]]:
        return self._workflow.arun(
            text, thread=self._thread, runtime=self._runtime, emit=self._emitting(live), **asdict(self._bounds)
        )

    def _kept_bounds(self) -> dict[str, Any]:
        """Return the bounds for a resumed run: it keeps its own, except for a cost cap that this command names."""
        return {} if self._bounds.max_cost is None else {"max_cost": self._bounds.max_cost}

    def _emitting(self, live: Live) -> Callable[[Any], None]:
        from ...graphs.events import Called

        def emit(event: Any) -> None:
            if isinstance(event, Called):
                self._face.spent.add(event.row)
            live.show(event)

        return emit

    def _turn(self, begin: Callable[[Live], Coroutine[Any, Any, RunResult[Any]]]) -> None:
        """Run, ask about what waits, and continue, until the run ends or keeps waiting; an error ends only the turn."""
        live = self._face.live()
        try:
            outcome = self._face.run(begin(live))
            self._run = outcome.run
            while outcome.error is None and outcome.pending:
                live.close()
                deny = self._approval == "deny"
                answers = refusals(outcome.pending) if deny else self._face.answers(outcome.pending)
                if answers is None:
                    break
                emit = self._emitting(live)
                outcome = self._face.run(self._workflow.aresume(outcome.run, answers, runtime=self._runtime, emit=emit))
        except KeyboardInterrupt:
            if received() != signal.SIGINT:
                raise
            self._stopped(live)
        except Exception as error:  # noqa: BLE001 - an error that ends a run must not end the session
            self._break_off(live)
            self._fail(error)
        else:
            live.close()
            self._report(outcome, live)

    def _stopped(self, live: Live) -> None:
        """Handle a run that Ctrl-C has stopped; its cost is recorded by now."""
        self._break_off(live)
        self._code, self._pressed = ExitCode.INTERRUPTED, True
        self._face.stopped(self._run if self._open else "")

    def _break_off(self, live: Live) -> None:
        """Remember the unfinished run, if it had begun."""
        live.close()
        self._run, self._open = live.run or self._run, bool(live.run or self._open)

    def _fail(self, error: BaseException) -> None:
        self._code, said = judge(error)
        self._face.failed(said)

    def _report(self, outcome: RunResult[Any], live: Live) -> None:
        self._run, self._diff = outcome.run, outcome.diff
        if outcome.error is not None:
            self._open = True
            self._face.ended(outcome, live)
            self._fail(outcome.error)
            return
        self._open = bool(outcome.pending)
        self._code = ENDED[outcome.status]
        shown = [step.note for step in outcome.steps if step.note]
        for note in outcome.notes:
            if note not in self._noted and not any(one in note for one in shown):
                self._noted.append(note)
                self._face.say(f"note: {line(note)}")
        self._face.ended(outcome, live)
        if outcome.pending:
            self._face.say("it waits for you: /resume asks again")
        elif outcome.status != "done":
            self._face.say(f"it is {outcome.status.replace('_', ' ')}")
        if changed := _changed(outcome.diff):
            self._face.say(f"changed {', '.join(map(line, changed))}: /diff shows how, /undo puts it back")

    def _undo(self) -> None:
        from ...agents.journal.undo import undone

        try:
            files = undone(self._runtime, self._run) if self._run else ()
        except PointsmanError as error:
            self._face.failed(judge(error)[1])
            return
        for file in files:
            self._face.say(f"{file.change}: {visible(file.path)}")
        if not files:
            self._face.say("there is nothing to be put back")


def _changed(diff: str) -> list[str]:
    """Return the files in a diff, including those with only a mode change."""
    return list(dict.fromkeys(found[2] for found in _FILE.finditer(diff)))
