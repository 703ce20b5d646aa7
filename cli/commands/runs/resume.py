"""``pointsman resume``: continue a run that waits for a person or was interrupted."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from ....configs.errors import ConfigError
from ... import options
from ...io.inputs import MAX_INPUT, read_input
from ...io.outcome import answered, report_run, target_of, told
from ...settings import GIVEN, opened
from ...signals import run_to_end
from ...target.target import found_target

if TYPE_CHECKING:
    from ....agents.bounds import Bounds
    from ....agents.result import Pending, RunResult
    from ....agents.runtime import Runtime
    from ....graphs.workflow import Workflow
    from ....ledger.rows import RunRow
    from ...io.approval import Answers
    from ...io.live import Live

__all__ = ["resume", "run_row"]

_NEAR = 1000
"""How many of the latest runs a mistyped id is compared with."""

_AN_ID: Final = re.compile("[0-9a-f]{4,}")
"""Pattern of an act's id or a prefix of it."""

_Approve = Annotated[
    list[str] | None, typer.Option("--approve", metavar="ID|all", help="Approve an act that waits; repeatable.")
]
_Reject = Annotated[
    list[str] | None, typer.Option("--reject", metavar="ID|all", help="Refuse an act that waits; repeatable.")
]
_Edit = Annotated[
    list[str] | None,
    typer.Option("--edit", metavar="[ID=]JSON", help="Approve an act with these arguments instead; repeatable."),
]
_Always = Annotated[
    list[str] | None,
    typer.Option(
        "--always", metavar="ID|all", help="Approve this very call from now on, unless it destroys; repeatable."
    ),
]
_Respond = Annotated[
    list[str] | None,
    typer.Option(
        "--respond",
        metavar="[ID=]TEXT",
        help="Do not make the call: TEXT is its result, as of an act that was done already; repeatable.",
    ),
]
_Given = Annotated[
    str | None,
    typer.Option(
        "--answers", metavar="FILE", help="Answers as JSON: ID -> decision, or one decision; - for standard input."
    ),
]


@options.project("workspace", "sandbox", "offline", "overrides")
def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of the run.")],
    approve: _Approve = None,
    reject: _Reject = None,
    edit: _Edit = None,
    always: _Always = None,
    respond: _Respond = None,
    given: _Given = None,
    full: Annotated[bool, typer.Option("--full", help="Show what waits without leaving anything out.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="WHY", help="Why it is refused; the agent is told.")] = "",
    target: Annotated[
        str | None, typer.Option("--target", metavar="TARGET", help="The target, where it has moved since.")
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", min=0, metavar="USD", help="Most the run may spend, what is spent included."),
    ] = None,
    max_tokens: options.MaxTokens = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", metavar="N", min=1, help="Steps of the graph this part may take.")
    ] = None,
    timeout: options.Timeout = None,
    user: options.User = "",
    user_class: options.UserClass = None,
    tag: options.Tag = None,
    json: options.AsJson = False,
) -> None:
    """Resume a run that waits for approval or was interrupted.

    Without an answer it shows what waits and ends with code 4. Options left out keep the
    values that the run was started with.
    """
    from ....agents.bounds import Bounds
    from ...io.live import Live

    who = bool(approve or reject or edit or respond) or None
    with opened(attended=who) as runtime:
        row = run_row(runtime, run)
        spec = target or _target_of(row)
        workflow = _found(run, spec, runtime, named=target is not None)
        live = Live(json=json)
        again = GIVEN.get().again()
        bounds = Bounds(max_cost, max_steps, timeout, user, user_class, tuple(tag or ()), max_tokens)
        said = _Said(approve or (), reject or (), edit or (), always or (), respond or (), reason, _read(given))
        try:
            outcome = run_to_end(_resumed(workflow, run, said, bounds, runtime, live))
        except (TimeoutError, KeyboardInterrupt):
            told(run, again)
            raise
        code = report_run(outcome, live, json=json, stream=False, again=again, resumed=True, full=full)
    raise typer.Exit(code)


def _found(run: str, spec: str, runtime: Runtime, *, named: bool) -> Workflow:
    """Load the workflow that the run runs.

    Raises:
        ConfigError: It cannot be found, or has changed since it was last named.
    """
    again = f"pointsman resume {run} --target"
    try:
        return found_target(spec, runtime, name_it=None if named else f"{again} {spec}")
    except ConfigError as error:
        path = spec.rpartition(":")[0]
        if named or not path.endswith(".py") or os.path.exists(path):
            raise
        raise ConfigError(f"{error}: where it has moved to another place: {again} FILE.py:NAME") from error


class _Said(NamedTuple):
    """The answers given by the options."""

    approve: Sequence[str]
    reject: Sequence[str]
    edit: Sequence[str]
    always: Sequence[str]
    respond: Sequence[str]
    reason: str
    given: Any

    @property
    def named(self) -> bool:
        """Whether an act is named."""
        return bool(self.approve or self.reject or self.edit or self.always or self.respond)


async def _resumed(
    workflow: Workflow, run: str, said: _Said, bounds: Bounds, runtime: Runtime, live: Live
) -> RunResult:
    """Resume the run with the answers given; without any, ask the person at the terminal."""
    answers = said.given
    if said.named and answers is not None:
        raise ConfigError(
            "give the answers either by --answers or by --approve, --reject, --edit, --always and --respond"
        )
    if said.named:
        waiting = await workflow.apending(run, runtime)
        if not waiting:
            raise ConfigError(_nothing_waits(runtime, run))
        answers = _answers(waiting, said)
    stopped = await workflow.aresume(run, answers, **asdict(bounds), runtime=runtime, emit=live.show)
    return stopped if answers is not None else await answered(workflow, stopped, runtime, live, "ask")


def _read(file: str | None) -> Any:
    """Read the answers from a file; return None if no file is given."""
    if file is None:
        return None
    text = read_input(file if file == "-" else f"@{file}", limit=MAX_INPUT)
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"--answers must be JSON, {{ID: decision}} or a decision: {error}") from error


def _nothing_waits(runtime: Runtime, run: str) -> str:
    from ....agents.runs import status_of

    status = status_of(runtime, run_row(runtime, run))
    cures = {
        "interrupted": f"go on with: pointsman resume {run}",
        "failed": f"go on with: pointsman resume {run}",
        "pending": f"what keeps it from being answered is told by: pointsman resume {run}",
        "running": f"it may come to: pointsman queue shows what waits, pointsman runs cancel {run} stops it",
    }
    cure = cures.get(status, f"what was answered and done is told by: pointsman runs show {run}")
    return f"run {run} waits for no answer; it is {status.replace('_', ' ')}: {cure}"


def run_row(runtime: Runtime, run: str) -> RunRow:
    """Return the ledger's row of a run.

    Args:
        runtime: The runtime whose ledger has it.
        run: Its id.

    Raises:
        ConfigError: There is none.
    """
    import difflib

    from ....agents.errors import NoRun

    row = runtime.ledger.run(run)
    if row is not None:
        return row
    near = difflib.get_close_matches(run, [row.id for row in runtime.ledger.runs(limit=_NEAR)], n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise NoRun(runtime.settings.state, run, meant)


def _target_of(row: RunRow) -> str:
    kept = target_of(row)
    if kept is None:
        raise ConfigError(
            f"run {row.id} was started by a program, so what runs is not known: pointsman resume {row.id} "
            "--target FILE.py:NAME"
        )
    return kept


def _answers(waiting: Sequence[Pending], said: _Said) -> Answers:
    """Return the answers given by the options, each bound to the act that was read."""
    from ...io.approval import edit as edited

    acts = {act.id: act for act in waiting}
    ways: tuple[tuple[Sequence[str], dict[str, Any]], ...] = (
        (said.approve, {"type": "approve"}),
        (said.reject, {"type": "reject", "message": said.reason}),
        (said.always, {"type": "approve", "scope": "always"}),
    )
    of_all = [decision for words, decision in ways if "all" in words]
    by_id = [dict.fromkeys(_named(waiting, words), decision) for words, decision in ways]
    by_id.append({id_: edited(acts[id_], given) for id_, given in (_edit(waiting, text) for text in said.edit)})
    results = (_respond(waiting, text) for text in said.respond)
    by_id.append({id_: {"type": "respond", "message": told} for id_, told in results})
    if len(of_all) > 1:
        raise ConfigError("all that waits has two different answers: give one")
    answers: Answers = {}
    for act in waiting:
        named = [decisions[act.id] for decisions in by_id if act.id in decisions]
        if len(named) > 1:
            raise ConfigError(f"{act.id} has two different answers: give one")
        if not act.tool and (named or of_all):
            raise ConfigError(
                f"{act.id} is a question of the graph's own, and takes any answer: write that as JSON into a file, and "
                f"pointsman resume {act.run} --answers FILE; where an earlier version asked it, pointsman resume "
                f"{act.run} alone asks it anew"
            )
        for decision in named or of_all:
            answers[act.id] = {**decision, "digest": act.digest}
    return answers


def _named(waiting: Sequence[Pending], words: Sequence[str]) -> set[str]:
    """Return the ids that words name, each in full or by a unique prefix."""
    found = set()
    for word in words:
        fitting = [act.id for act in waiting if word and act.id.startswith(word)]
        if len(fitting) == 1:
            found.add(fitting[0])
        elif word != "all":
            ids = ", ".join(act.id for act in waiting)
            raise ConfigError(f"nothing waits under the id {word!r}; these do: {ids}")
    return found


def _respond(waiting: Sequence[Pending], text: str) -> tuple[str, str]:
    """Parse the id and the result from ``ID=TEXT``, or from ``TEXT`` if only one act waits."""
    name, equals, given = text.partition("=")
    if equals and _AN_ID.fullmatch(name):
        (id_,) = _named(waiting, [name])
    elif len(waiting) == 1:
        id_, given = waiting[0].id, text
    else:
        raise ConfigError(f"{len(waiting)} acts wait, so say which is meant: --respond ID=TEXT")
    act = next(one for one in waiting if one.id == id_)
    if act.tool and "respond" not in act.allowed:
        raise ConfigError(
            "--respond gives the result of a call that may have been made already, or only reads; "
            f"{act.tool} is yet to be called: answer with --approve, --reject or --edit"
        )
    return id_, given


def _edit(waiting: Sequence[Pending], text: str) -> tuple[str, dict[str, Any]]:
    """Parse the id and the arguments from ``ID=JSON``, or from ``JSON`` if only one act waits."""
    name, equals, given = text.partition("=")
    bare = text.lstrip().startswith("{")
    if not bare and not equals:
        raise ConfigError(f"--edit {text!r} must have the form ID={{…}}, with the arguments as JSON")
    if bare and len(waiting) != 1:
        raise ConfigError(f"{len(waiting)} acts wait, so say which is meant: --edit ID={{…}}")
    try:
        arguments = json.loads(text if bare else given)
    except ValueError as error:
        raise ConfigError(f"--edit must give the arguments as JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise ConfigError('--edit must give the arguments as a JSON object, such as {"order_id": "A-1"}')
    named = {waiting[0].id} if bare else _named(waiting, [name])
    if not named:
        raise ConfigError("--edit gives arguments for one act: write its id, --edit ID={…}")
    return named.pop(), arguments
