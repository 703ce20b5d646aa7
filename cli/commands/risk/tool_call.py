"""``pointsman risk tool-call``: whether recorded tool calls may be made without asking a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ... import options
from ...errors import ExitCode
from ...io.output import as_json, line, progress, result
from ...io.requests import broken_line, first_wrong, json_of, lines_of
from ...io.table import table

if TYPE_CHECKING:
    from ....tools.taint.gate import Judged

__all__ = ["tool_call"]


@options.apart
def tool_call(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON lines of calls; standard input when left out.")
    ] = "-",
    json: options.AsJson = False,
) -> None:
    """Say for each recorded tool call whether it may be made without asking a person: allow, ask or deny.

    A line has user (the user's words), transcript (the messages so far), tools (name, effect, target_args) and call
    (name, arguments). Nothing is called.
    """
    rows: list[tuple[object, ...]] = []
    broken = 0
    for number, text in lines_of(file):
        found = _judged(text, number)
        if found is None:
            broken += 1
            continue
        name, call, judged = found
        if json:
            as_json(_record(name, judged), lines=True)
        else:
            why = "; ".join(line(reason.text) for reason in judged.reasons)
            rows.append((number if name is None else name, call, judged.verdict.value, judged.risk.value, why))
    if rows:
        result(table(rows, ("call", "tool", "verdict", "risk", "why")))
    elif not broken and not json:
        progress('there were no calls: give JSON lines, such as {"user":"…","call":{"name":"send","arguments":{}}}')
    if broken:
        raise typer.Exit(ExitCode.USAGE)


def _judged(text: bytes, number: int) -> tuple[Any, str, Judged] | None:
    from pydantic import ValidationError

    from ....tools.taint.records import ToolCallRecord

    made = json_of(text, number)
    if made is None:
        return None
    if not isinstance(made, dict):
        broken_line(number, "a call is a JSON object with user, transcript, tools and call")
        return None
    try:
        record = ToolCallRecord.model_validate(made)
        return record.id, record.call.name, record.judged()
    except ValidationError as error:
        broken_line(number, first_wrong(error, ToolCallRecord))
    except RecursionError:
        broken_line(number, "is nested too deeply")
    return None


def _record(name: Any, judged: Judged) -> dict[str, Any]:
    said = {
        "verdict": judged.verdict.value,
        "risk": judged.risk.value,
        "reasons": [{"code": one.code.value, "reason": one.text, "value": one.value} for one in judged.reasons],
    }
    return said if name is None else {"id": name, **said}
