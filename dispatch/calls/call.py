"""`ModelCall`: one request to one model; however it ends, it ends in one row of the ledger and is paid for."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from ...backends.base import REACH, Backend, BackendError, Reach
from ...backends.http.clients import tells_reach
from ...backends.usage.seen import StreamUsage
from ...configs.catalog import ModelCard, Usage
from ...configs.errors import ConfigError
from ...configs.words import FailureKind
from ...ledger.forks import End, at_end, broken_by_the_end, refuse_at_the_end
from ...ledger.rows import CallRow
from ..conversation.mending import Mending
from ..errors import failure_of
from ..guards.budget import input_bound
from ..guards.grant import Grant
from ..request import ModelRequest, one_line
from .dropped import dropped
from .recorder import CallRecorder
from .validation import fault

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

    from ...ledger.ledger import Ledger
    from .clients import Clients

__all__ = ["ModelCall", "close_all"]

_PERHAPS_BILLED: Final = frozenset(
    {
        FailureKind.TIMEOUT,
        FailureKind.CONNECTION,
        FailureKind.MALFORMED,
        FailureKind.UNKNOWN,
        FailureKind.CANCELLED,
    }
)
"""The provider may have worked, and billed, although no complete answer came."""

_UNTOLD: Final = "unknown"
"""What answered where the provider does not say: never taken for the model that was asked."""
_MOST_OUTPUT: Final = 4_000_000
"""Tokens of a stream, as they are reckoned while it is read: far more than any model writes, or a picture takes."""
_GAVE_UP: Final = "the caller did not wait for the end"
_OVER: Final = "the process ended"


class ModelCall:
    """One request to one model: admitted, invoked, validated, settled and recorded.

    Used as a ``with`` block. Whoever leaves it without having said how the call ended, by an exception, a cancelled
    task, a closed or forgotten stream, or the end of the process, has not waited for it: that is booked and charged
    too. What is charged is what the provider told, else what was seen of a stream, else all that was reserved; nothing
    where the request was not sent or the provider answered with an error.

    Args:
        card: The model to ask.
        ask: What is asked.
        messages: The conversation in a form the model takes.
        options: Keyword arguments for the request.
        backend: Of the model's provider.
        grant: What the call was admitted with.
        booking: Where it is written down.
        notes: What of the ask its model could not be told, for the row.
        number: Which call of the ask it is, from 1.
        row_id: Id of its row where that is settled already.

    Attributes:
        first_token: Seconds from the request to the first words of a stream; None before them.
        row: Its row; None until it has ended, and where it was never sent.
        input: The most input tokens that were reckoned with; None where nobody did.
        unwanted: Why nobody waits for it any more, for the row of a call that is broken off.
        task: The task that makes it, where another may have to break it off.
    """

    def __init__(
        self,
        card: ModelCard,
        ask: ModelRequest,
        messages: Sequence[BaseMessage],
        options: dict[str, Any],
        *,
        backend: Backend,
        grant: Grant,
        booking: CallRecorder,
        notes: Sequence[str] = (),
        number: int = 1,
        row_id: str | None = None,
    ) -> None:
        self.card = card
        self.ask = ask
        self.messages = messages
        self.options = options
        self.backend = backend
        self.grant = grant
        self.number = number
        self.notes = tuple(notes)
        self.first_token: float | None = None
        self.row: CallRow | None = None
        # Popped by whoever ends the call: of two threads, one can.
        self._unended = [True]
        self._over = False
        self.input: int | None = None
        self.unwanted = ""
        self.task: asyncio.Task[Any] | None = None
        self._mending = Mending(ask)
        self._booking = booking
        self._row_id = row_id
        self._heard = StreamUsage()
        self._process = os.getpid()
        self._sent: float | None = None
        self._reach = Reach()
        self._seconds = 0.0
        self._at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close("" if error is None or isinstance(error, _USUAL) else type(error).__name__)

    def __del__(self) -> None:
        # A stream that its reader dropped, or whose event loop is gone, is never closed by anybody else. This can run
        # within the garbage collector, where no lock may be waited for, so another thread does it.
        if getattr(self, "open", False):
            dropped.put(self)

    def close(self, why: str = "") -> None:
        """End the call where nobody has said how it ended; a second time does nothing.

        Args:
            why: What came between, for the row.
        """
        if not self._claimed():
            return
        self._over = why == _OVER
        if self._process != os.getpid():
            # A forked child has a copy of what its parent is doing, and the parent sees to its end.
            return
        if self._sent is None:
            self.grant.give_back()
        else:
            detail = f"broken off: {self.unwanted or why or _GAVE_UP}"
            self._end(self._seen(), (FailureKind.CANCELLED, detail), **self._bill(perhaps=True))

    @property
    def open(self) -> bool:
        """Whether it has not ended yet."""
        return bool(self._unended)

    def _claimed(self) -> bool:
        """Whether whoever asks is the one to end the call."""
        try:
            return self._unended.pop()
        except IndexError:
            return False

    def _claim(self) -> None:
        if not self._claimed():
            if self._over:
                raise asyncio.CancelledError(_OVER)
            raise ConfigError("what a call ran on was closed before it ended: keep it open until all calls are over")

    @property
    def seconds(self) -> float:
        """Time since the request was sent."""
        return 0.0 if self._sent is None else time.monotonic() - self._sent

    def sent(self, at: float | None = None) -> None:
        """Note that the request goes out, now or at ``at`` seconds since the epoch."""
        self._at = time.time() if at is None else at
        self._sent = time.monotonic() - max(0.0, time.time() - self._at)
        _under_way.add(self)
        dropped.watch()

    def _sent_by(self, client: Any) -> None:
        if tells_reach(client):
            # What goes wrong before it has a connection went wrong here.
            self._reach.connected = False
        self.sent()
        REACH.set(self._reach)

    async def invoke(self, clients: Clients, until: float) -> AIMessage:
        """Send the request and give the reply.

        Args:
            clients: Which have the model's chat model ready.
            until: When the reply must be there, in the event loop's seconds.

        Raises:
            BackendError: There is none, with the provider's trouble translated.
        """
        try:
            async with asyncio.timeout_at(until):
                client, binding = clients.bound(self.ask, self.card)
                if until <= asyncio.get_running_loop().time():
                    # The time-out strikes at the first wait, and that would come after the request is taken for sent.
                    raise TimeoutError
                self._sent_by(client)
                # LangChain's own layer is already around RoutedChatModel: a second one would trace every token twice,
                # and costs as much as all of the routing.
                result = await client._agenerate(list(self.messages), **binding, **self.options)
                message: AIMessage = _told(result.generations[0], result.llm_output)
                return message
        except Exception as error:
            raise self.translated(error) from error

    async def chunks(self, clients: Clients) -> AsyncGenerator[AIMessageChunk]:
        """Send the request and give the reply as it comes, each chunk counted; errors are the client's own."""
        client, binding = clients.bound(self.ask, self.card)
        self._sent_by(client)
        stream: Any = client._astream(list(self.messages), **binding, **self.options)
        async with aclosing(stream) as generations:
            async for generation in generations:
                chunk = _told(generation)
                if self.first_token is None and (chunk.content or chunk.tool_call_chunks):
                    self.first_token = self.seconds
                self._mending.chunk(chunk)
                self._heard.add(chunk)
                if self._heard.seen_output > _MOST_OUTPUT:
                    raise BackendError(FailureKind.MALFORMED, "the reply has no end: it was broken off")
                yield chunk

    def translated(self, error: Exception) -> BackendError:
        """Sort what a client raised, or the clock, into the kinds of failure.

        Raises:
            PointsmanError: The process ends, which is no failure of the provider's; the call is booked as broken off.
        """
        if broken_by_the_end(error):
            self.close(_OVER)
            refuse_at_the_end()
        if isinstance(error, TimeoutError):
            return BackendError(FailureKind.TIMEOUT, "no complete answer in time")
        return failure_of(self.backend, error)

    def answered(self, message: AIMessage, streamed: AIMessageChunk | None = None) -> tuple[FailureKind, str] | None:
        """End the call with a complete reply.

        Args:
            message: The reply.
            streamed: The same as it was streamed: merging mends broken JSON, so only the chunks tell of it.

        Returns:
            What is wrong with the reply; None when it can be used.

        Raises:
            ConfigError: It was ended before, since what it runs on was closed.
        """
        self._claim()
        try:
            reply = self.backend.read(message if streamed is None else streamed)
        except Exception as error:  # noqa: BLE001 - whatever a reply holds, the call is paid for
            wrong: tuple[FailureKind, str] = FailureKind.MALFORMED, f"unreadable reply: {type(error).__name__}"
            self._end(None, wrong, billed=True)
            return wrong
        # Money first: whatever is wrong with the reply itself, it has been written.
        cost, charged = self._settled(reply.usage, billed=True)
        verdict = self._verdict(message, reply)
        self._book(
            reply.usage,
            cost,
            charged,
            verdict,
            doubt=reply.doubt,
            answered_by=reply.model or _UNTOLD,
            finish=reply.finish,
            confidence=message.response_metadata.get("confidence"),
        )
        return verdict

    def failed(self, error: BackendError, *, billed: bool | None = None) -> CallRow:
        """End the call without a complete reply.

        Args:
            error: What came instead.
            billed: Whether the provider may have billed it, where it says so; else the error tells.

        Returns:
            Its row.

        Raises:
            ConfigError: As in `answered`.
        """
        self._claim()
        usage, wrong = self._seen(), (error.kind, one_line(error))
        if billed is None:
            refused = error.status is not None and error.status >= 400
            reached = error.sent and self._sent is not None
            perhaps = usage is not None or (reached and not refused and error.kind in _PERHAPS_BILLED)
            self._end(usage, wrong, **self._bill(perhaps=perhaps))
        else:
            self._end(usage, wrong, billed=billed, known=0 if not billed else None)
        return self.ended

    def is_booked_in(self, ledger: Ledger) -> bool:
        """Whether its row goes into a ledger."""
        return self._booking.ledger is ledger

    def _bill(self, *, perhaps: bool) -> dict[str, Any]:
        """Whether the call may have been billed; without a connection it cost nothing for certain."""
        unsent = self._reach.connected is False
        return {"billed": perhaps and not unsent, "known": 0 if unsent else None}

    @property
    def ended(self) -> CallRow:
        """The row of a call that has ended.

        Raises:
            RuntimeError: It has not.
        """
        if self.row is None:
            raise RuntimeError("the call has not ended yet")
        return self.row

    def _verdict(self, message: AIMessage, reply: Any) -> tuple[FailureKind, str] | None:
        try:
            self._mending.message(message)
            return fault(self.ask, self.card, self.backend, message, reply)
        except Exception as error:  # noqa: BLE001 - a reply that cannot be checked cannot be used
            return FailureKind.MALFORMED, one_line(f"the reply cannot be checked: {type(error).__name__}: {error}")

    def _seen(self) -> Usage | None:
        """What the provider told of a reply that is not complete; the output no less than was seen of it."""
        told = self._heard.so_far
        if told is None and self.first_token is not None:
            # The input is not known yet, so its bound is taken, as it was when money was reserved.
            most = self.input or input_bound(self.messages, self.ask.tools, self.card.context)
            return Usage(input=most, output=max(1, self._heard.seen_output))
        return told

    def _end(
        self, usage: Usage | None, wrong: tuple[FailureKind, str], *, billed: bool, known: int | None = None
    ) -> None:
        cost, charged = self._settled(usage, billed=billed)
        self._book(usage, known if cost is None else cost, charged, wrong)

    def _settled(self, usage: Usage | None, *, billed: bool) -> tuple[int | None, int | None]:
        """Pay: the cost where it is known, and what was charged where money was reserved."""
        self._seconds = self.seconds
        self._at = self._at or time.time()
        cost = None
        try:
            cost = self._booking.cost(self.card, usage, self._at)
        finally:
            charged = self.grant.settle(usage, cost, billed=billed)
        return cost, charged

    def _book(
        self,
        usage: Usage | None,
        cost: int | None,
        charged: int | None,
        wrong: tuple[FailureKind, str] | None,
        doubt: str = "",
        **facts: Any,
    ) -> None:
        notes = ["" if wrong is None else wrong[1], doubt, *self.notes]
        if cost is None and charged is not None:
            cost = charged
            notes.append("charged as reserved")
        self.row = self._booking.row(
            self.card,
            id=self._row_id,
            attempt=self.number,
            at=self._at,
            latency=self._seconds,
            first_token=self.first_token,
            usage=usage,
            cost=cost,
            failure=None if wrong is None else wrong[0].value,
            detail="; ".join(note for note in notes if note),
            **facts,
        )
        _under_way.discard(self)
        self._booking.record(self.row)


_USUAL: Final = (asyncio.CancelledError, GeneratorExit)
_under_way: weakref.WeakSet[ModelCall] = weakref.WeakSet()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_under_way.clear)


def close_all(why: str, ledger: Ledger | None = None) -> None:
    """Book the calls under way that nobody will wait for.

    Args:
        why: For their rows.
        ledger: Only those that are written down there; None for all.
    """
    for call in _calls_under_way():
        if ledger is None or call.is_booked_in(ledger):
            # What cannot be written down is charged as reserved, by whoever reclaims it.
            with suppress(Exception):
                call.close(why)


def _calls_under_way() -> list[ModelCall]:
    while True:
        try:
            return list(_under_way)
        except RuntimeError:
            # Another thread has begun one meanwhile.
            continue


@at_end(End.CLOSE)
def _at_exit() -> None:
    close_all(_OVER)


def _told(generation: Any, beside: Mapping[str, Any] | None = None) -> Any:
    """The message of a generation, with what the vendor said beside it, as LangChain's own layer puts it there."""
    message = generation.message
    if generation.generation_info or beside:
        message.response_metadata = {
            **(beside or {}),
            **(generation.generation_info or {}),
            **message.response_metadata,
        }
    return message
