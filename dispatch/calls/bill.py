"""`Bill`: what one call used and costs; counted while it runs, settled once, written down in one row."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ...backends.base import REACH, BackendError, Reach
from ...backends.http.clients import tells_reach
from ...backends.usage.seen import StreamUsage
from ...configs.catalog import ModelCard, Usage
from ...configs.words import FailureKind
from ...ledger.rows import CallRow
from ..guards.budget import input_bound
from ..guards.grant import Grant
from ..request import ModelRequest
from .recorder import CallRecorder

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk, BaseMessage

__all__ = ["Bill", "Verdict"]

Verdict = tuple[FailureKind, str]
"""What is wrong with a call or its reply, and the words for its row."""

_MOST_OUTPUT: Final = 4_000_000
"""Output tokens counted in a stream before it is broken off: far more than any model writes, or a picture takes."""


class Bill:
    """What one call used and costs.

    The charge is what the provider reported; without a report, what was seen of the stream; without a stream, all that
    was reserved. Nothing is charged where the request was not sent or the provider answered with an error.

    Args:
        card: The model that is asked.
        ask: The request.
        messages: The conversation as it is sent.
        grant: What the call was admitted with; settled with the cost.
        recorder: Gives the price, and writes the row.
        row_id: As the attribute.

    Attributes:
        first_token: Seconds from the request to the first words of a stream; None before them.
        most_input: Input tokens that money was reserved for; None where none was.
        recorder: Gives the price, and writes the row.
        row: The row of the call; None until it is written.
        row_id: Id that the row has or will have, where it is known before the call.
    """

    def __init__(
        self,
        card: ModelCard,
        ask: ModelRequest,
        messages: Sequence[BaseMessage],
        grant: Grant,
        recorder: CallRecorder,
        row_id: str | None = None,
    ) -> None:
        self.first_token: float | None = None
        self.most_input: int | None = None
        self.recorder = recorder
        self.row: CallRow | None = None
        self._card = card
        self._ask = ask
        self._messages = messages
        self._grant = grant
        self.row_id = row_id
        self._stream: StreamUsage | None = None
        self._reach = Reach()
        self._sent: float | None = None
        self._at = 0.0
        self._seconds = 0.0
        self._usage: Usage | None = None
        self._cost: int | None = None
        self._charged: int | None = None

    @property
    def begun(self) -> bool:
        """Whether the request was sent."""
        return self._sent is not None

    @property
    def connected(self) -> bool:
        """Whether the client has told of a connection, whatever it makes of an error that came later."""
        return self._reach.connected is True

    @property
    def seconds(self) -> float:
        """Time since the request was sent."""
        return 0.0 if self._sent is None else time.monotonic() - self._sent

    def begin(self, client: Any = None, at: float | None = None) -> None:
        """Note that the request is sent.

        Args:
            client: The chat model that sends it from this task; None where it was sent elsewhere.
            at: When it was sent, in seconds since the epoch; now when absent.
        """
        if client is not None:
            if tells_reach(client):
                # Until the client reports a connection, a failure happened on this machine and costs nothing.
                self._reach.connected = False
            REACH.set(self._reach)
        now = time.time()
        self._at = now if at is None else at
        self._sent = time.monotonic() - max(0.0, now - self._at)

    def count(self, chunk: AIMessageChunk) -> None:
        """Count a chunk of the stream.

        Raises:
            BackendError: The stream is longer than any answer.
        """
        if self._stream is None:
            self._stream = StreamUsage()
        if self.first_token is None and (chunk.content or chunk.tool_call_chunks):
            self.first_token = self.seconds
        self._stream.add(chunk)
        if self._stream.seen_output > _MOST_OUTPUT:
            raise BackendError(FailureKind.MALFORMED, "the reply has no end: it was broken off")

    def settle(self, usage: Usage | None, *, billed: bool) -> None:
        """Pay for the call.

        Args:
            usage: Tokens it used; None where they are unknown.
            billed: Whether the provider may have billed it.
        """
        self._usage, self._seconds, self._at = usage, self.seconds, self._at or time.time()
        try:
            self._cost = self.recorder.cost(self._card, usage, self._at)
        finally:
            self._charged = self._grant.settle(usage, self._cost, billed=billed)

    def break_off(self, *, billed: bool | None = None, perhaps: bool = True) -> None:
        """Pay for a call without a complete reply.

        Args:
            billed: Whether the provider billed it; None where it does not say.
            perhaps: Whether it may have, where it does not say; what was seen of a stream was billed in any case.
        """
        usage = self._seen()
        if billed is None:
            unsent = not self.begun or self._reach.connected is False
            self.settle(usage, billed=(usage is not None or perhaps) and not unsent)
            free = unsent
        else:
            self.settle(usage, billed=billed)
            free = not billed
        if free and self._cost is None:
            self._cost = 0

    def write(self, wrong: Verdict | None, notes: Sequence[str] = (), **facts: Any) -> None:
        """Write the row of a call that has been settled.

        Args:
            wrong: What is wrong with the call or its reply.
            notes: What else a reader of the row should know.
            facts: Further fields of `CallRow`.
        """
        cost, said = self._cost, ["" if wrong is None else wrong[1], *notes]
        if cost is None and self._charged is not None:
            cost = self._charged
            said.append("charged as reserved")
        self.row = self.recorder.row(
            self._card,
            id=self.row_id,
            at=self._at,
            latency=self._seconds,
            first_token=self.first_token,
            usage=self._usage,
            cost=cost,
            failure=None if wrong is None else wrong[0].value,
            detail="; ".join(filter(None, said)),
            **facts,
        )
        self.recorder.record(self.row)

    def _seen(self) -> Usage | None:
        """What the provider reported of a reply that is not complete; the output no less than was seen of it."""
        if self._stream is None:
            return None
        told = self._stream.so_far
        if told is None and self.first_token is not None:
            # The input is not known yet, so its bound is taken, as it was when money was reserved.
            most = self.most_input or input_bound(self._messages, self._ask.tools, self._card.context)
            return Usage(input=most, output=max(1, self._stream.seen_output))
        return told
