"""``pointsman drill``: break the providers on purpose, on this machine, under the user's own policy."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ...configs.errors import ConfigError, PointsmanError
from .. import options
from ..errors import ExitCode
from ..io.output import answer, progress, seconds, usd
from ..io.table import table
from ..settings import settings_of
from ..signals import run_to_end

if TYPE_CHECKING:
    from ...agents.runtime import Runtime
    from ...configs.schema import Settings
    from ...dispatch.calls.clients import Clients
    from ...ledger.rows import CallRow
    from ...simulator import Scenario, Simulator
    from ..drills.faults import Drill
    from ..drills.steps import Outcome, Steps

__all__ = ["drill"]

_CALLS: Final = 20
_WARM: Final = 5
_PICO: Final = 10**12
# With a proxy set, clients would send even requests to this machine through it.
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENAI_PROXY", "ANTHROPIC_PROXY")
_TRACES: Final = ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2")


@options.project("overrides")
def drill(
    target: Annotated[
        str | None, typer.Option("--target", metavar="FILE:NAME", help="A workflow of your own, instead of the mix.")
    ] = None,
    text: Annotated[str, typer.Option("--input", metavar="TEXT|@FILE", help="What --target is given.")] = "",
    run_tools: Annotated[bool, typer.Option("--run-tools", help="Let the tools of --target really act.")] = False,
    calls: Annotated[int, typer.Option("--calls", metavar="N", min=1, max=10_000, help="Steps a drill.")] = _CALLS,
    scenario: Annotated[
        Path | None, typer.Option("--scenario", metavar="FILE", help="YAML that scripts the one drill to run.")
    ] = None,
    usable: Annotated[bool, typer.Option("--usable", help="Leave out providers without a key or server here.")] = False,
    json: options.AsJson = False,
) -> None:
    """Break, slow, corrupt and rate-limit each provider that the policy asks first, and measure how the steps end.

    Everything is simulated on this machine with your policy and models; no key is used and your ledger is unchanged.
    """
    from ...simulator import Scenario

    settings = settings_of()
    script = Scenario.load(scenario) if scenario else None
    with _sealed():
        steps = _steps(target, text, run_tools)
        made = _drilled(settings, steps, calls, script, usable)
    answer(asdict(made), "\n".join(_told(made)), json=json)
    if any(one.wrong for one in made.drills) or any(one.failed for one in made.undisturbed):
        raise typer.Exit(ExitCode.FAILED)


@contextmanager
def _sealed() -> Iterator[None]:
    """Disable proxies and tracers in the block, since they would send the drill's traffic off this machine."""
    from langsmith.run_helpers import tracing_context

    before = dict(os.environ)
    for name in list(os.environ):
        if name.upper() in (*_PROXIES, *_TRACES):
            del os.environ[name]
    try:
        with tracing_context(enabled=False):
            yield
    finally:
        os.environ.update(before)


def _steps(target: str | None, text: str, run_tools: bool) -> Steps:
    from ..drills.steps import Mix, Target
    from ..io.inputs import read_input
    from ..target.target import load_target

    if target is None:
        if text or run_tools:
            raise ConfigError("--input and --run-tools are for a workflow: name it with --target FILE:NAME")
        return Mix()
    workflow = load_target(target)
    if not text:
        raise ConfigError("--target needs an input to run on: add --input TEXT")
    return Target(workflow, read_input(text), run_tools=run_tools)


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """The steps run with every provider healthy.

    Attributes:
        streamed: Whether the answers were streamed.
        failed: Steps without an answer.
        p50: Median seconds of a step; ``p95`` likewise, both by nearest rank.
        cost: USD.
        asked_first: Provider -> number of steps that asked it first.
        repeats: Whether a repeated step gives the same answer; if not, wrong answers cannot be detected.
    """

    streamed: bool
    steps: int
    failed: int
    p50: float | None
    p95: float | None
    cost: float
    asked_first: Mapping[str, int]
    repeats: bool


@dataclass(frozen=True, slots=True)
class Drilled:
    """The results of one drill.

    Attributes:
        provider: The provider that was broken; None if a scenario decides that.
        answered: Steps with an answer, right or wrong.
        failed: Steps that reported a failure.
        wrong: Steps that silently returned something else than the undisturbed steps did; None if that cannot be
            detected.
        person: Reason why a step would reach a person -> number of steps.
        p50: Median seconds of an answered step; ``added_p50`` is the increase over undisturbed; ``p95`` likewise.
        cost: USD; ``added_cost`` is the increase over undisturbed.
        unpriced: Calls of unknown cost; they are counted in neither cost.
        wasted_tokens: Tokens the provider billed for answers that could not be used.
        usual: Steps that ask the broken provider when it is healthy; ``asked`` counts those that still asked it.
        still_asked: ``asked`` as a share of ``usual``, 0..1; None if ``usual`` is 0.
    """

    drill: str
    said: str
    provider: str | None
    steps: int
    answered: int
    failed: int
    wrong: int | None
    person: Mapping[str, int]
    p50: float | None
    p95: float | None
    added_p50: float | None
    added_p95: float | None
    cost: float
    added_cost: float
    unpriced: int
    wasted_tokens: int
    usual: int
    asked: int
    still_asked: float | None


@dataclass(frozen=True, slots=True)
class DrillReport:
    """The whole report; ``dataclasses.asdict`` of it is JSON. ``left_out`` names providers that cannot be simulated."""

    undisturbed: tuple[Undisturbed, ...]
    drills: tuple[Drilled, ...]
    left_out: tuple[str, ...]


def _drilled(settings: Settings, steps: Steps, calls: int, script: Scenario | None, usable: bool) -> DrillReport:
    from ...dispatch.catalog import unavailable
    from ...simulator import Simulator
    from ..drills.faults import played

    reasons = unavailable(settings)
    if not usable:
        # A missing key may be set elsewhere, so its provider is included; a local server that does not run is not.
        reasons = {name: why for name, why in reasons.items() if settings.providers[name].local}
    with Simulator() as simulator, TemporaryDirectory(prefix="pointsman-drill-") as folder:
        there, left_out = played(settings, simulator.base_url, Path(folder), reasons)
        ground = _Ground(there, simulator, steps, calls)
        made = run_to_end(ground.all(script))
        return DrillReport(*made, left_out)


@dataclass(frozen=True, slots=True)
class _Taken:
    """The outcomes of running the steps once, and the tokens that the providers billed for them."""

    outcomes: Sequence[Outcome]
    billed: int

    @property
    def calls(self) -> list[CallRow]:
        return [call for one in self.outcomes for call in one.calls]

    @property
    def cost(self) -> float:
        return sum(call.cost or 0 for call in self.calls) / _PICO

    def asking(self, provider: str | None) -> frozenset[int]:
        """Return the numbers of the steps that asked a provider."""
        return frozenset(one.number for one in self.outcomes if provider in {_provider(call) for call in one.calls})

    def asked_first(self, played: frozenset[str]) -> dict[str, int]:
        """Return for each provider the number of steps that asked it first."""
        counts = Counter(
            provider
            for one in self.outcomes
            for provider in {_provider(call) for call in one.calls if call.attempt == 1} & played
        )
        return dict(counts.most_common())

    def wasted(self, played: frozenset[str]) -> int:
        used = [call.usage for call in self.calls if call.failure is None and _provider(call) in played]
        return max(0, self.billed - sum(usage.input + usage.output for usage in used if usage is not None))


class _Ground:
    """The environment of the drills: one simulator, and for each drill a new dispatcher without earlier state."""

    def __init__(self, settings: Settings, simulator: Simulator, steps: Steps, calls: int) -> None:
        self._settings, self._simulator = settings, simulator
        self._steps, self._calls = steps, calls
        self._clients: Clients | None = None
        self._number = 0
        self._played = frozenset(name for name, entry in settings.providers.items() if entry.base_url)

    async def all(self, script: Scenario | None) -> tuple[tuple[Undisturbed, ...], tuple[Drilled, ...]]:
        from ..drills.faults import CALM, DRILLS, Drill, without_faults
        from ..drills.steps import Target

        drills: Sequence[Drill] = DRILLS
        calm = CALM
        if script is not None:
            calm = without_faults(script)
            drills = (Drill("scenario", "what the file says", lambda _: script),)
        elif isinstance(self._steps, Target):
            # The agents of a workflow stream only if somebody observes the run.
            drills = [one for one in DRILLS if not one.streamed]
        before: dict[bool, tuple[_Taken, Undisturbed]] = {}
        for streamed in sorted({one.streamed for one in drills}):
            progress(f"undisturbed{', streamed' if streamed else ''}: {self._calls} steps")
            # Warm up: loading and connecting once must not count in any drill.
            await self._take(calm, streamed, min(_WARM, self._calls))
            taken = await self._take(calm, streamed)
            before[streamed] = (taken, self._undisturbed(taken, streamed))
        found = []
        for one in drills:
            taken, undisturbed = before[one.streamed]
            for provider in [None] if script is not None else list(undisturbed.asked_first):
                progress(f"{one.name}{f' of {provider}' if provider else ''}: {one.said}")
                after = await self._take(one.scenario(provider or ""), one.streamed)
                found.append(self._compared(one, provider, taken, undisturbed, after))
        return tuple(undisturbed for _, undisturbed in before.values()), tuple(found)

    async def _take(self, scenario: Scenario, streamed: bool, steps: int | None = None) -> _Taken:
        from ..drills.steps import take

        self._number += 1
        with self._runtime(self._settings.state / str(self._number)) as runtime:
            self._simulator.scenario = scenario
            self._simulator.log.clear()
            outcomes = await take(self._steps, runtime, steps or self._calls, streamed=streamed)
            billed = sum(served.input_tokens + served.output_tokens for served in self._simulator.log)
            return _Taken(outcomes, billed)

    def _runtime(self, state: Path) -> Runtime:
        from ...agents.runtime import Runtime
        from ...dispatch.request import ModelRequest

        runtime = Runtime(self._settings.model_copy(update={"state": state}))
        dispatcher = runtime.dispatcher
        if self._clients is None:
            self._clients = dispatcher.clients
            for card in dispatcher.cards.values():
                if card.provider in self._played:
                    dispatcher.clients.bound(ModelRequest(messages=()), card)
        dispatcher.clients = self._clients
        return runtime

    def _undisturbed(self, taken: _Taken, streamed: bool) -> Undisturbed:
        from ..drills.steps import Target

        good = [one for one in taken.outcomes if one.failure is None]
        if not good:
            failures = Counter(str(one.failure) for one in taken.outcomes)
            raise PointsmanError(
                f"all {len(taken.outcomes)} steps fail although every provider is well: "
                + ", ".join(f"{count} {why}" for why, count in failures.most_common())
            )
        answers = [one.answer for one in good]
        same = not isinstance(self._steps, Target) or all(answer == answers[0] for answer in answers)
        p50, p95 = _percentiles(good)
        return Undisturbed(
            streamed,
            len(taken.outcomes),
            len(taken.outcomes) - len(good),
            p50,
            p95,
            taken.cost,
            taken.asked_first(self._played),
            same,
        )

    def _compared(
        self, drill: Drill, provider: str | None, before: _Taken, undisturbed: Undisturbed, after: _Taken
    ) -> Drilled:
        good = [one for one in after.outcomes if one.failure is None]
        right = {one.number: one.answer for one in before.outcomes if one.failure is None}
        wrong = sum(one.number in right and one.answer != right[one.number] for one in good)
        p50, p95 = _percentiles(good)
        usual = before.asking(provider)
        asked = after.asking(provider) & usual
        return Drilled(
            drill=drill.name,
            said=drill.said,
            provider=provider,
            steps=len(after.outcomes),
            answered=len(good),
            failed=len(after.outcomes) - len(good),
            wrong=wrong if undisturbed.repeats else None,
            person=dict(Counter(one.person for one in after.outcomes if one.person).most_common()),
            p50=p50,
            p95=p95,
            added_p50=None if p50 is None or undisturbed.p50 is None else p50 - undisturbed.p50,
            added_p95=None if p95 is None or undisturbed.p95 is None else p95 - undisturbed.p95,
            cost=after.cost,
            added_cost=after.cost - before.cost,
            unpriced=sum(call.cost is None and call.usage is not None for call in after.calls),
            wasted_tokens=after.wasted(self._played),
            usual=len(usual),
            asked=len(asked),
            still_asked=len(asked) / len(usual) if usual else None,
        )


def _provider(call: CallRow) -> str:
    return call.model.partition("/")[0]


def _percentiles(outcomes: Sequence[Outcome]) -> tuple[float | None, float | None]:
    took = sorted(one.seconds for one in outcomes)
    if not took:
        return None, None
    p50, p95 = (took[-(-len(took) * percent // 100) - 1] for percent in (50, 95))
    return p50, p95


def _told(made: DrillReport) -> Iterator[str]:
    for calm in made.undisturbed:
        asked = ", ".join(f"{name} {count}" for name, count in calm.asked_first.items())
        yield (
            f"undisturbed{', streamed' if calm.streamed else ''}: {calm.steps - calm.failed} of {calm.steps} answered, "
            f"p50 {seconds(calm.p50)}, p95 {seconds(calm.p95)}, {usd(calm.cost)}; first calls: {asked or 'none'}"
        )
    if made.left_out:
        yield f"cannot be played and left out: {', '.join(made.left_out)}"
    if not made.drills:
        yield "no provider that can be played was asked first, so there is nothing to break"
        return
    head = (
        "drill",
        "of",
        "answered",
        "failed",
        "wrong",
        "added p50",
        "p95",
        "cost",
        "wasted tok",
        "still asked",
        "to a person",
    )
    yield ""
    yield table(map(_row, made.drills), head, right=range(2, 10))
    wrong = sum(one.wrong or 0 for one in made.drills)
    yield ""
    if any(one.wrong is None for one in made.drills):
        yield "the target's answers differ from run to run, so a wrong one cannot be told"
    elif wrong:
        yield f"{wrong} answers were silently wrong"
    else:
        yield "no answer was silently wrong"


def _row(one: Drilled) -> tuple[Any, ...]:
    person = ", ".join(f"{count} {why}" for why, count in one.person.items())
    return (
        one.drill,
        one.provider or "-",
        f"{one.answered}/{one.steps}",
        one.failed,
        "?" if one.wrong is None else one.wrong,
        _more(one.added_p50),
        _more(one.added_p95),
        ("+" if one.added_cost >= 0 else "") + usd(one.added_cost) + (f" + {one.unpriced}?" if one.unpriced else ""),
        one.wasted_tokens,
        "-" if one.still_asked is None else f"{100 * one.still_asked:.0f} %",
        person or "-",
    )


def _more(duration: float | None) -> str:
    return "-" if duration is None else f"{1000 * duration:+.0f} ms"
