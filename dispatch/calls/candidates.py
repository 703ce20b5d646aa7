"""`Candidates`: the models that may still be asked, in order, and what a failure changes about that."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from ...configs.catalog import ModelCard
from ...configs.schema import OnFailure
from ...configs.words import FailureKind

__all__ = ["Candidates"]


class Candidates:
    """The queue of one request's models. A model stays in it until its turn is over or a failure rules it out.

    Args:
        cards: The catalogue.
        names: The candidates of the decision, best first.
        on_failure: Kind of failure -> what is done about it, as the policy has it.
    """

    def __init__(
        self, cards: Mapping[str, ModelCard], names: Sequence[str], on_failure: Mapping[FailureKind, OnFailure]
    ) -> None:
        self._cards = cards
        self._queue = list(names)
        self._on_failure = on_failure
        self._retried: set[str] = set()
        self._slow: set[str] = set()
        self._held: set[str] = set()
        self._refused_by: str | None = None

    def __contains__(self, model: str) -> bool:
        return model in self._queue

    @property
    def single(self) -> bool:
        """Whether only one is left."""
        return len(self._queue) == 1

    def pick(self, busy: Container[str], *, last: bool) -> ModelCard | None:
        """The model to ask next; None where none is left.

        Args:
            busy: Models that are being asked.
            last: Only one more call may be made. A slow model comes last, and the last call is kept for one.
        """
        waiting = [name for name in self._queue if name not in busy]
        if not waiting:
            return None
        name = next((name for name in waiting if (name in self._slow) is last), waiting[0])
        if name in self._held:
            # Another one of the same tier, while its rate limit holds this one back.
            peers = (one for one in waiting if one not in self._held)
            name = next((one for one in peers if self._cards[one].tier is self._cards[name].tier), name)
        return self._cards[name]

    def drop(self, model: str) -> None:
        """Take a model out that cannot be asked now."""
        self._queue.remove(model)

    def put_off(self, model: str) -> None:
        """Ask a model that has become slow only after the others."""
        self._slow.add(model)

    def is_put_off(self, model: str) -> bool:
        """Whether `put_off` was called for it."""
        return model in self._slow

    def hold(self, model: str) -> bool:
        """Note that a model's rate limit holds it back for a moment.

        Returns:
            Whether that moment has to be waited for, since no other model is asked meanwhile.
        """
        if model in self._held or self.single:
            self._held.clear()
            return True
        self._held.add(model)
        return False

    def refused(self, provider: str) -> None:
        """Note that a provider refused the request, so that a second one that does so ends it."""
        self._refused_by = provider

    def failed(self, card: ModelCard, kind: FailureKind, busy: Sequence[str]) -> tuple[OnFailure, bool]:
        """Rearrange what is left after a failure.

        Args:
            card: The model that failed.
            kind: How.
            busy: Other models that are being asked.

        Returns:
            What the policy does about it, ``next`` where the model has had its retry; and whether this is the second
            provider that refuses the request.
        """
        action, again = self._on_failure[kind], False
        if action == "elsewhere":
            again = self._refused_by not in (None, card.provider)
            self._refused_by = self._refused_by if again else card.provider
        if action == "stop" or again:
            # Whoever is asked already may still answer; nobody else is asked.
            self._queue = list(busy)
            return "stop", again
        if action == "retry" and card.id not in self._retried:
            self._retried.add(card.id)
            return action, False
        rest = [self._cards[name] for name in self._queue if name != card.id]
        if action == "stronger":
            # Where nothing is stronger another model of the same tier may still do better.
            rest = [other for other in rest if other.tier > card.tier] or [o for o in rest if o.tier is card.tier]
        elif action == "larger":
            rest = [other for other in rest if (other.context or 0) > (card.context or 0)]
        if action == "elsewhere" or kind is FailureKind.AUTH:
            rest = [other for other in rest if other.provider != card.provider]
        self._queue = [other.id for other in rest]
        return "next" if action == "retry" else action, False
