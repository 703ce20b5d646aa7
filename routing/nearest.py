"""Complexity by the nearest labelled examples: no model, only the steps that looked most like this one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ..configs.errors import ConfigError
from .learned import Learned, RouterFile, Verdict, verdict

__all__ = ["Nearest"]

_NEIGHBOURS: Final = 9
# Votes every tier has before any example is looked at, so that few or distant examples are not believed.
_DOUBT: Final = 0.25


class Nearest(Learned):
    """A `Scorer` that lets the nearest examples of a router file vote, the nearer the more.

    It reads the same signals as `Learned` and takes its choice of tier, its bands and its measure of what is familiar
    from the same file, so that the two can be exchanged.

    Args:
        model: A router trained on steps; its examples are used, its weights are not.
        neighbours: Examples that vote.

    Raises:
        ConfigError: The router was trained on prompts, or nobody may vote.
    """

    def __init__(self, model: RouterFile, *, neighbours: int = _NEIGHBOURS) -> None:
        if model.kind != "steps":
            raise ConfigError("the nearest examples need a router trained on labelled steps, and this one has prompts")
        if neighbours < 1:
            raise ConfigError("at least one neighbour must vote")
        super().__init__(model)
        self.neighbours = neighbours

    @property
    def id(self) -> str:
        """Names this scorer in a policy's hash."""
        return f"nearest-{self.neighbours}-{self.model.id}"

    def judge(self, found: Sequence[float]) -> Verdict:
        """Judge what `read` returned."""
        arrays = self.model.arrays
        gaps = arrays["examples"] - (np.array(found) - arrays["mean"]) / arrays["scale"]
        distances = np.sqrt(np.einsum("ij,ij->i", gaps, gaps))
        nearest = np.argsort(distances, kind="stable")[: self.neighbours]
        votes = 1 / (1 + (distances[nearest] / max(float(self.model.header["reach"]), 1e-9)) ** 2)
        counts = np.bincount(arrays["labels"][nearest], weights=votes, minlength=4) + _DOUBT
        return verdict(self.model, counts / counts.sum(), float(distances[nearest[0]]))
