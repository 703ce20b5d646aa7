"""What a step is for where it does not say: its reach tells, that is, what its tools can do."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ...configs.words import Effect, StepKind, Tier

__all__ = ["kind_of", "worst_called"]


def kind_of(
    declared: StepKind | None, effects: Collection[Effect], tier: Tier | None, *, only_reads: bool = False
) -> StepKind:
    """The kind of a step: as declared, else as its reach tells.

    No tools and no effects ``transform`` (``decide`` where the frontier tier is asked for), tools that only read
    ``gather``, anything else ``act``.

    Args:
        declared: What the caller says.
        effects: Of the bound tools; a tool without a declared effect has ``destructive``.
        tier: The tier asked for.
        only_reads: The tools among them that leave the machine declare that they change nothing there.
    """
    if declared is not None:
        return declared
    if not effects:
        return StepKind.DECIDE if tier is Tier.FRONTIER else StepKind.TRANSFORM
    reading = {Effect.READ, Effect.EXTERNAL} if only_reads else {Effect.READ}
    return StepKind.GATHER if reading.issuperset(effects) else StepKind.ACT


def worst_called(names: Iterable[str], known: Mapping[str, Effect], *, declares: bool) -> Effect | None:
    """The worst that the tools called in a transcript can have done; None where none were called.

    Args:
        names: Of the tools that were called.
        known: Their effects, as far as they are known by name.
        declares: The step declares tools or effects: then a call without a known effect is taken to be of one of
            these, and left out. Else nobody declared it, and it counts as ``destructive``.
    """
    found = [known.get(name, None if declares else Effect.DESTRUCTIVE) for name in names]
    return max((effect for effect in found if effect is not None), default=None)
