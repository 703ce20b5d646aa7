"""``pointsman router``: train a router from labelled rows, measure one, and show what one was trained on."""

from __future__ import annotations

import gzip
import json as jsonlib
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from ...configs.errors import ConfigError
from .. import options
from ..errors import ExitCode
from ..io.output import answer, as_json, result, seconds, short
from ..io.requests import MAX_LINE, broken_line, numbered
from ..io.table import table
from ..settings import settings_of
from ..signals import end_cleanly

if TYPE_CHECKING:
    from ...configs.schema import Settings
    from ...evaluation.score_router import PromptReport, StepReport
    from ...routing.features.features import Features
    from ...routing.policy.policy import Policy
    from ...routing.request import RouteRequest
    from ...routing.scorers.learned import Embed, RouterFile

__all__ = ["commands"]

_GZIP: Final = b"\x1f\x8b"
_File = Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines, plain or gzipped: labelled steps or prompts.")]

Row = Mapping[str, Any]


@options.apart
def train(
    file: _File,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the router.")],
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of folds and resampling.", min=0)] = 0,
    json: options.AsJson = False,
) -> None:
    """Train a router from labelled rows, in seconds.

    A step is {"messages", "target_tier"}, with "instance_id" if steps share a trajectory, "benchmark" for its workload,
    and what a request declares ("task", "kind", "effects"); a prompt is {"prompt", "strong", "weak"} with the quality,
    0..1, of two models' answers.
    """
    from ...evaluation import train_router
    from ...routing.scorers.learned import save

    if not output.absolute().parent.is_dir():
        raise ConfigError("there is no such folder", file=output.parent)
    read = _read(file)
    end_cleanly()
    started = time.monotonic()
    router = train_router.train(read.rows, embed=_embedder(read.kind), seed=seed, trained_on=file.name)
    took = time.monotonic() - started
    save(router, output)
    if json:
        as_json({"file": str(output), "seconds": took, "broken": read.broken, **dict(router.header)})
    else:
        result("\n".join(_header(router, output)))
        result(
            f"trained in  {seconds(took)}; measure it with 'pointsman router eval' before routing.scorer may name it"
        )
    if read.broken:
        raise typer.Exit(ExitCode.USAGE)


@options.project("overrides")
def evaluate(
    file: _File,
    router: Annotated[Path | None, typer.Option("--router", metavar="FILE", help="The router to measure.")] = None,
    classifier: Annotated[
        bool, typer.Option("--classifier", help="Measure the small model that judges steps; it is asked for each.")
    ] = False,
    json: options.AsJson = False,
) -> None:
    """Measure a router or the classifier against baselines that need neither, and keep the result as a proof.

    Only trajectories and prompts that it was not trained on count; a router that was trained on all of them is trained
    again on four fifths at a time and measured on the rest. It is used for a task if it beats both the workload's most
    common tier and plain length, by intervals over at least 20 trajectories or prompts. The proof is kept beside it.
    """
    from ...dispatch.catalog import proof_file
    from ...routing.policy import proof

    if (router is None) is not classifier:
        raise ConfigError("say what to measure: --router FILE, or --classifier")
    settings = settings_of()
    read = _read(file)
    end_cleanly()
    if router is None:
        settings = _with_classifier(settings)
        made: StepReport | PromptReport = _judged(read, settings)
        head, target = ["classifier"], proof_file(settings)
    else:
        made = _measured(read, file, router, settings)
        head, target = list(_header(_router(router), router)), proof.proof_path(router)
    proof.write(made.proof, target)
    answer(
        {"broken": read.broken, "proof_file": str(target), "used_for": sorted(made.proof.proven), **asdict(made)},
        "\n".join([*head, *_told(made, target)]),
        json=json,
    )
    if read.broken:
        raise typer.Exit(ExitCode.USAGE)


def _measured(read: _Read, file: Path, router: Path, settings: Settings) -> StepReport | PromptReport:
    from ...evaluation.score_router import score_prompts, score_steps
    from ...routing.policy.proof import fingerprint

    model = _router(router)
    if model.kind != read.kind:
        raise ConfigError(f"it was trained on {model.kind}, and {file} holds {read.kind}", file=router)
    known = fingerprint(router)
    if read.kind == "steps":
        return score_steps(read.rows, model, known, settings)
    return score_prompts(read.rows, model, known, settings, _embedder(read.kind))


def _with_classifier(settings: Settings) -> Settings:
    return settings.model_copy(update={"routing": settings.routing.model_copy(update={"scorer": "classifier"})})


def _judged(read: _Read, settings: Settings) -> StepReport:
    from ...dispatch.catalog import classifier_id
    from ...evaluation.score_router import score_judged

    if read.kind != "steps":
        raise ConfigError("the classifier judges steps: give rows with messages and target_tier")
    known = classifier_id(settings.routing.classifier)
    return score_judged(read.rows, lambda requests, policy: _asked(settings, requests, policy), known, settings)


def _asked(settings: Settings, requests: Sequence[RouteRequest], policy: Policy) -> list[Features]:
    """Return the features of requests with the classifier's verdict on each, asked as before a live call."""
    from dataclasses import replace

    from langchain_core.messages import convert_to_messages

    from ...agents.runs import run_scope
    from ...agents.runtime import Runtime
    from ...dispatch import sync
    from ...dispatch.request import ModelRequest

    with Runtime(settings) as runtime, run_scope(runtime, "router eval"):
        dispatcher = runtime.dispatcher
        # Whom to ask is decided over the models there are.
        whole = replace(
            policy,
            routing=dispatcher.policy.routing,
            cards=dispatcher.policy.cards,
            catalogue=dispatcher.policy.catalogue,
        )

        async def each() -> list[Features]:
            found = []
            for request in requests:
                ask = ModelRequest(messages=convert_to_messages([dict(message) for message in request.messages]))
                found.append(await dispatcher.classifier.judged(policy.features(request), ask, whole))
            return found

        return sync.run(each())


@options.apart
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A router.")],
    json: options.AsJson = False,
) -> None:
    """Show what a router was trained on."""
    model = _router(file)
    answer({"file": str(file), **dict(model.header)}, "\n".join(_header(model, file)), json=json)


def _router(file: Path) -> RouterFile:
    from ...backends.ondevice.embedder import WordLlamaEmbeddings
    from ...routing.scorers.learned import load

    return load(file, dimensions=WordLlamaEmbeddings.dimensions)


def _embedder(kind: str) -> Embed | None:
    if kind == "steps":
        return None
    from ...dispatch.catalog import vectors

    return vectors()


def _header(model: RouterFile, file: Path) -> Iterator[str]:
    header = model.header
    yield f"router      {file}"
    yield f"for         {model.kind}"
    yield f"trained on  {header['trained_on'] or 'data without a name'}: {header['rows']} rows, {header['date']}"
    yield f"data hash   {header['data_hash']}"
    yield f"embeddings  {f'{model.dimensions} dimensions' if model.dimensions else 'none'}"
    yield f"settings    the best of {header['configurations']} that were tried inside the training folds"


# --- rows ---


@dataclass(frozen=True, slots=True)
class _Read:
    kind: str
    rows: Sequence[Row]
    broken: int


def _read(file: Path) -> _Read:
    """Read the rows, saying which lines are broken.

    Raises:
        ConfigError: The file cannot be read, or no line of it is a row.
    """
    kind, rows, broken = "", [], 0
    for number, text in _lines(file):
        made = _row(text)
        if not isinstance(made, str):
            found, row = made
            kind = kind or found
            if found == kind:
                rows.append(row)
                continue
            made = f"is one of {found}, and those before it are {kind}"
        broken += 1
        broken_line(number, made)
    if not rows:
        raise ConfigError(
            "holds no rows: give steps (messages, target_tier) or prompts (prompt, strong, weak), a JSON object a line",
            file=file,
        )
    return _Read(kind, rows, broken)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with file.open("rb") as plain:
            packed = plain.read(2) == _GZIP
            plain.seek(0)
            source: BinaryIO = gzip.GzipFile(fileobj=plain) if packed else plain  # type: ignore[assignment]  # reads alike
            yield from numbered(source)
    except (OSError, EOFError, zlib.error) as error:
        said = getattr(error, "strerror", None) or "is a damaged gzip file"
        raise ConfigError(f"cannot be read: {said}", file=file) from error


def _row(text: bytes) -> tuple[str, Row] | str:
    """Return the row of a line with its kind, or what is wrong with it."""
    if len(text) > MAX_LINE:
        return f"is longer than {MAX_LINE:,} bytes"
    try:
        made = jsonlib.loads(text)
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {short(error, 120)}"
    if not isinstance(made, dict):
        return "is not a JSON object"
    if "messages" in made:
        wrong = _wrong_step(made)
        return wrong or ("steps", made)
    if "prompt" in made:
        wrong = _wrong_prompt(made)
        return wrong or ("prompts", made)
    return "is neither a step (messages, target_tier) nor a prompt (prompt, strong, weak)"


def _wrong_step(row: Row) -> str:
    from pydantic import ValidationError

    from ...evaluation.metrics import StepBench, step_tier
    from ...evaluation.score_router import request_of
    from ...routing.features.signals import signals

    if "target_tier" not in row:
        return "has no target_tier"
    if type(row.get("step_index", 0)) is not int:
        return "step_index must be a whole number"
    try:
        step_tier(row["target_tier"])
        if not isinstance(row["messages"], list):
            return "messages must be a list"
        signals(request_of(row))
        StepBench([row])
    except ConfigError as error:
        return short(error, 160)
    except (ValidationError, AttributeError, TypeError, ValueError, KeyError):
        # The messages can have any shape, so any exception is possible.
        return "a message is not one of OpenAI's chat format"
    return ""


def _wrong_prompt(row: Row) -> str:
    if not isinstance(row["prompt"], str):
        return "the prompt must be a text"
    for name in ("strong", "weak"):
        value = row.get(name)
        if not isinstance(value, bool | int | float) or not 0 <= value <= 1:
            return f"{name} must be a quality from 0 to 1"
    return ""


# --- words ---


def _told(made: StepReport | PromptReport, target: Path) -> Iterator[str]:
    if made.left_out:
        yield f"measured    on {made.rows} rows left out of the training, as it was trained on these"
    else:
        dropped = f"; {made.dropped} of instances it was trained on are left out" if made.dropped else ""
        yield f"measured    on {made.rows} rows it was not trained on{dropped}"
    yield ""
    yield from _table(made)
    yield ""
    what = "mean of the four" if made.kind == "steps" else "APGR"
    for name, task in made.proof.tasks.items():
        gains = (
            f"{what} over the majority {task.over_majority}, over length {task.over_length}, "
            f"over one tier for all {task.over_fixed}"
        )
        yield f"{name}: " + (f"not used: {task.lacking}" if task.lacking else f"used: {gains}")
    yield f"proof       {target}; it holds for this scorer and these rules"


def _table(made: StepReport | PromptReport) -> Iterator[str]:
    if made.kind == "steps":
        cells = [
            (
                row.name,
                *(f"{figure:.1f}" for figure in (row.row_pass, row.row_exact, row.trajectory_pass, row.cost_saved)),
                f"{row.mean.value:.1f} [{row.mean.low:.1f}, {row.mean.high:.1f}]",
            )
            for row in made.scores
        ]
        head = ("", "row pass", "row exact", "trajectory pass", "cost saved", "mean of the four")
        yield table(cells, head, right=range(1, 5))
        return
    prompts = [
        (row.name, *map(str, (row.apgr, row.cpt50, row.cpt80, row.aiq)), f"{row.quality:.3f}") for row in made.scores
    ]
    yield table(prompts, ("", "APGR", "CPT 50", "CPT 80", "AIQ", "best quality"))


commands = options.group(
    "Train, measure and show a router.",
    {"train": train, "eval": evaluate, "show": show},
)
