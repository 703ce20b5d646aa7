"""`ModelCall`: one request to one model; however it ends, it is paid for and has one row in the ledger."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from ...backends.base import Backend, BackendError
from ...configs.catalog import ModelCard
from ...configs.errors import ConfigError
from ...configs.process.forks import ExitPhase, at_exit, broken_by_exit, refuse_at_exit
from ...configs.words import FailureKind
from ...ledger.rows import CallRow
from ..conversation.mending import Mending
from ..errors import failure_of
from ..guards.grant import Grant
from ..request import ModelRequest, one_line
from .bill import Bill, Verdict
from .dropped import dropped
from .recorder import CallRecorder
from .validation import fault

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

    from ...backends.replies.reply import Reply
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
"""The model that answered, where the provider does not name it: never taken for the model that was asked."""
_GAVE_UP: Final = "the caller did not wait for the end"
_OVER: Final = "the process ended"


class ModelCall:
    """One request to one model: admitted, invoked, validated, settled and recorded.

    Used as a ``with`` block. Leaving the block before `answered` or `failed` has ended the call (an exception, a
    cancelled task, a stream that its reader closed or dropped, the end of the process) ends it as cancelled: it is
    charged and recorded too.

    Args:
        card: The model to ask.
        ask: The request.
        messages: The conversation in a form the model takes.
        options: Keyword arguments for the request.
        backend: Of the model's provider.
        grant: What the call was admitted with.
        booking: Writes its row.
        notes: Options of the request that its model has no word for, for the row.
        number: Which call of the request it is, from 1.
        row_id: Id of its row, where it is known before the call.

    Attributes:
        bill: What it used and costs.
        unwanted: Why its answer is no longer needed, for the row of a call that is broken off.
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
        self.bill = Bill(card, ask, messages, grant, booking, row_id)
        self.unwanted = ""
        self.task: asyncio.Task[Any] | None = None
        # Popped by whoever ends the call: of two threads, one can.
        self._unended = [True]
        self._over = False
        self._mending = Mending(ask)
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._unended:
            self.close("" if error is None or isinstance(error, _USUAL) else type(error).__name__)

    def __del__(self) -> None:
        # A stream that its reader dropped, or whose event loop is gone, is never closed by anybody else. This can run
        # within the garbage collector, where no lock may be waited for, so another thread does it.
        if getattr(self, "_unended", False):
            dropped.put(self)

    def close(self, why: str = "") -> None:
        """End the call as cancelled, unless it has ended; a second time does nothing.

        Args:
            why: The reason, for the row.
        """
        if not self._claimed():
            return
        self._over = why == _OVER
        if self._process != os.getpid():
            # A forked child has a copy of its parent's call, which the parent ends.
            return
        if not self.bill.begun:
            self.grant.give_back()
            return
        self.bill.break_off()
        self._write((FailureKind.CANCELLED, f"broken off: {self.unwanted or why or _GAVE_UP}"))

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

    def sent(self, client: Any = None, at: float | None = None) -> None:
        """Note that the request is sent; arguments as `Bill.begin` takes them."""
        self.bill.begin(client, at)
        _under_way.add(self)
        dropped.watch()

    async def invoke(self, clients: Clients, until: float) -> AIMessage:
        """Send the request and give the reply.

        Args:
            clients: Which have the model's chat model ready.
            until: When the reply must be there, in the event loop's seconds.

        Raises:
            BackendError: No complete reply came; the provider's error, translated.
        """
        try:
            async with asyncio.timeout_at(until):
                client, binding = clients.bound(self.ask, self.card)
                if until <= asyncio.get_running_loop().time():
                    # The time-out strikes at the first wait, and that would come after the request is taken for sent.
                    raise TimeoutError
                self.sent(client)
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
        self.sent(client)
        stream: Any = client._astream(list(self.messages), **binding, **self.options)
        async with aclosing(stream) as generations:
            async for generation in generations:
                chunk = _told(generation)
                self._mending.chunk(chunk)
                self.bill.count(chunk)
                yield chunk

    def translated(self, error: Exception) -> BackendError:
        """Translate what a client raised, or a time-out, into a kind of failure.

        Raises:
            PointsmanError: The process ends, which is no failure of the provider's; the call is ended as cancelled.
        """
        if broken_by_exit(error):
            self.close(_OVER)
            refuse_at_exit()
        if isinstance(error, TimeoutError):
            return BackendError(FailureKind.TIMEOUT, "no complete answer in time")
        return failure_of(self.backend, error)

    def answered(self, message: AIMessage, streamed: AIMessageChunk | None = None) -> Verdict | None:
        """End the call with a complete reply.

        Args:
            message: The reply.
            streamed: The same as it was streamed: merging mends broken JSON, so only the chunks show it.

        Returns:
            What is wrong with the reply; None when it can be used.

        Raises:
            ConfigError: It was ended before, since what it runs on was closed.
        """
        self._claim()
        try:
            reply = self.backend.read(message if streamed is None else streamed)
        except Exception as error:  # noqa: BLE001 - whatever a reply holds, the call is paid for
            wrong = FailureKind.MALFORMED, f"unreadable reply: {type(error).__name__}"
            self.bill.settle(None, billed=True)
            self._write(wrong)
            return wrong
        # Money first: whatever is wrong with the reply itself, it has been written.
        if reply.usage is None and streamed is not None and reply.finish is None:
            self.bill.break_off()
        else:
            self.bill.settle(reply.usage, billed=True)
        verdict = self._verdict(message, reply)
        self._write(
            verdict,
            reply.doubt,
            answered_by=reply.model or _UNTOLD,
            finish=reply.finish,
            confidence=message.response_metadata.get("confidence"),
        )
        return verdict

    def failed(self, error: BackendError, *, billed: bool | None = None) -> CallRow:
        """End the call without a complete reply.

        Args:
            error: Why there is none.
            billed: Whether the provider billed it, where it says so; else the error decides.

        Returns:
            Its row.

        Raises:
            ConfigError: As in `answered`.
        """
        self._claim()
        refused = error.status is not None and error.status >= 400
        sent = error.sent or self.bill.connected
        perhaps = sent and not refused and error.kind in _PERHAPS_BILLED
        self.bill.break_off(billed=billed, perhaps=perhaps)
        self._write((error.kind, one_line(error)))
        return self.ended

    @property
    def ended(self) -> CallRow:
        """The row of a call that has ended.

        Raises:
            RuntimeError: It has not.
        """
        if self.bill.row is None:
            raise RuntimeError("the call has not ended yet")
        return self.bill.row

    def _verdict(self, message: AIMessage, reply: Reply) -> Verdict | None:
        try:
            self._mending.message(message)
            return fault(self.ask, self.card, self.backend, message, reply)
        except Exception as error:  # noqa: BLE001 - a reply that cannot be checked cannot be used
            return FailureKind.MALFORMED, one_line(f"the reply cannot be checked: {type(error).__name__}: {error}")

    def _write(self, wrong: Verdict | None, doubt: str = "", **facts: Any) -> None:
        _under_way.discard(self)
        self.bill.write(wrong, (doubt, *self.notes), attempt=self.number, **facts)


_USUAL: Final = (asyncio.CancelledError, GeneratorExit)
_under_way: weakref.WeakSet[ModelCall] = weakref.WeakSet()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_under_way.clear)


def close_all(why: str, ledger: Ledger | None = None) -> None:
    """End the calls under way as cancelled.

    Args:
        why: The reason, for their rows.
        ledger: Only those whose rows go into it; None for all.
    """
    for call in _calls_under_way():
        if ledger is None or call.bill.recorder.ledger is ledger:
            # A call whose row cannot be written is charged as reserved when its reservation is reclaimed.
            with suppress(Exception):
                call.close(why)


def _calls_under_way() -> list[ModelCall]:
    while True:
        try:
            return list(_under_way)
        except RuntimeError:
            # Another thread has begun one meanwhile.
            continue


@at_exit(ExitPhase.CLOSE)
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
