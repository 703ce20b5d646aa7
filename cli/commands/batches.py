"""``pointsman batch``: submit requests to the providers' batch APIs, and collect the answers once they are ready."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import options
from ..errors import ExitCode
from ..io.output import answer, as_json, minute, money, progress, result, short
from ..io.records import dollars
from ..io.requests import broken_line, lines_of, request_of
from ..io.table import table
from ..settings import opened
from ..signals import run_to_end

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ...dispatch.batch.batches import BatchAnswer, Batches
    from ...dispatch.context import StepContext
    from ...dispatch.request import ModelRequest
    from ...ledger.batches import BatchRow, PartRow
    from ...routing.request import RouteRequest

__all__ = ["commands"]

_Id = Annotated[str, typer.Argument(metavar="ID", help="The batch, as submit printed it.")]


@options.project("overrides")
def submit(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON lines of requests; standard input when left out.")
    ] = "-",
    json: options.AsJson = False,
) -> None:
    """Submit the requests of a file, each in the format of 'pointsman route', and print the id of the batch."""
    asked: list[tuple[ModelRequest, StepContext]] = []
    broken = 0
    for number, text in lines_of(file):
        request = request_of(text, number)
        made = None if request is None else _asked(request, number)
        if made is None:
            broken += 1
        else:
            asked.append(made)
    if asked:
        with _opened() as batches:
            batch = run_to_end(batches.submit([ask for ask, _ in asked], [step for _, step in asked]))
            row, parts = batches.book.batch(batch), batches.book.parts(batch)
        if json:
            as_json(_record(row, parts))
        else:
            result(batch)
            progress(f"{row.asks} requests: pointsman batch collect {batch} --wait")
    elif not broken:
        progress("there were no requests: give JSON lines, such as " + '{"id":"1","kind":"transform","messages":[…]}')
    if broken:
        raise typer.Exit(ExitCode.USAGE)


def list_(json: options.AsJson = False) -> None:
    """List the batches of the last 30 days."""
    with _opened() as batches:
        found = [(row, batches.book.parts(row.id)) for row in batches.book.batches()]
    rows = [(row.id, f"{minute(row.at)} UTC", row.asks, row.answered, row.failed, _state(row)) for row, _ in found]
    text = table(rows, ("batch", "submitted", "requests", "answered", "failed", "state"), right=[2, 3, 4])
    answer([_record(row, parts) for row, parts in found], text if found else "there is no batch", json=json)


def show(batch: _Id, json: options.AsJson = False) -> None:
    """Show the progress of a batch, without asking the providers."""
    with _opened() as batches:
        row, parts = batches.book.batch(batch), batches.book.parts(batch)
    told = f"batch {row.id}, submitted {minute(row.at)} UTC: {row.answered} of {row.asks} answered, {row.failed} failed"
    if parts:
        rows = [(part.model, part.state.replace("_", " "), part.vendor or "-", part.detail or "-") for part in parts]
        told += "\n" + table(rows, ("model", "state", "at the provider", "which says"))
    answer(_record(row, parts), told, json=json)


@options.project("overrides")
def collect(
    batch: _Id,
    wait: Annotated[bool, typer.Option("--wait", help="Until every request is answered.")] = False,
    output: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE.py:CLASS", help="A pydantic class that judges typed answers; runs its file."),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Print the answers in the order of the requests; collecting twice costs nothing.

    Requests with no usable answer from the provider are asked live first. Typed answers to requests submitted in Python
    are checked against their schema, and against the class itself if --output names it.
    """
    from ..target.target import load_class

    outputs = [load_class(spec) for spec in output or ()]
    with _opened(outputs) as batches:
        row = run_to_end(_collected(batches, batch, wait=wait))
        answers = [] if row.ended is None else batches.answers(batch)
    if row.ended is None:
        progress(f"{row.answered} of {row.asks} answered yet: wait with pointsman batch collect {batch} --wait")
        raise typer.Exit(ExitCode.FAILED)
    if json:
        for answer in answers:
            as_json(_answer(answer), lines=True)
    else:
        rows = [(told["id"], told["model"] or "-", money(_cost(one)), short(_shown(told), 100))
                for one in answers for told in (_answer(one),)]  # fmt: skip
        result(table(rows, ("request", "model", "cost", "answer"), right=[2]))
    if unjudged := [answer.note for answer in answers if answer.note]:
        progress(f"{len(unjudged)} of {len(answers)} answers were {unjudged[0]}: --output FILE.py:CLASS")
    if any(answer.error for answer in answers):
        raise typer.Exit(ExitCode.FAILED)


async def _collected(batches: Batches, batch: str, *, wait: bool) -> BatchRow:
    if wait:
        await batches.collect(batch)
    return await batches.poll(batch)


@contextmanager
def _opened(outputs: Sequence[type[BaseModel]] = ()) -> Iterator[Batches]:
    from ...dispatch.batch.batches import Batches

    with opened() as runtime, Batches(runtime.dispatcher, outputs=outputs) as batches:
        yield batches


def _asked(request: RouteRequest, number: int) -> tuple[ModelRequest, StepContext] | None:
    """Return the request of a line and the step it declares; report what is wrong and return None if it is invalid."""
    from langchain_core.messages import convert_to_messages

    from ...dispatch.context import RunContext, StepContext
    from ...dispatch.request import ModelRequest

    if request.tools or request.structured:
        broken_line(number, "tools and structured: a line cannot carry what they are, so use dispatch.batches.Batches")
        return None
    try:
        messages = convert_to_messages([dict(message) for message in request.messages])
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        broken_line(number, f"messages: {short(error, 160)}")
        return None
    if not messages:
        broken_line(number, "messages: there is nothing to send")
        return None
    ask = ModelRequest(messages, request)
    step = StepContext(
        run=RunContext(tags=request.tags, user_class=request.user_class),
        step=request.id or str(number),
        dependents=request.dependents,
        sensitivity=request.sensitivity if "sensitivity" in request.model_fields_set else None,
        risk=request.risk,
    )
    return ask, step


def _state(row: BatchRow) -> str:
    return "working" if row.ended is None else "done"


def _record(row: BatchRow, parts: list[PartRow]) -> dict[str, Any]:
    return {
        "batch": row.id,
        "submitted": row.at,
        "age": time.time() - row.at,
        "state": _state(row),
        "requests": row.asks,
        "answered": row.answered,
        "failed": row.failed,
        "parts": [
            {"model": part.model, "state": part.state, "provider_id": part.vendor, "detail": part.detail}
            for part in parts
        ],
    }


def _shown(told: dict[str, Any]) -> str:
    calls = "; ".join(f"{call['name']} {dumps(call['args'], ensure_ascii=False)}" for call in told["tool_calls"])
    return told["text"] or told["error"] or calls


def _cost(answer: BatchAnswer) -> int | None:
    if answer.message is None:
        return 0
    cost: int | None = answer.message.response_metadata["pointsman"]["cost"]
    return cost


def _answer(answer: BatchAnswer) -> dict[str, Any]:
    message = answer.message
    account = message.response_metadata["pointsman"] if message else {}
    return {
        "id": answer.name,
        "text": None if message is None else str(message.text),
        "tool_calls": [{"name": call["name"], "args": call["args"]} for call in message.tool_calls] if message else [],
        "model": account.get("model"),
        "cost": dollars(account.get("cost")),
        "decision": account.get("decision"),
        "error": answer.error,
        "note": answer.note or None,
    }


commands = options.group(
    "Have work that can wait done at the price of the providers' batch APIs.",
    {"submit": submit, "list": list_, "show": show, "collect": collect},
)
