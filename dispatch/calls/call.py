"""`ModelCall`: one request to one model; however it ends, it is charged and has one row in the ledger."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import KW_ONLY, InitVar, dataclass, field
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from ...backends.base import Backend, BackendError
from ...configs.catalog import ModelCard
from ...configs.errors import ConfigError
from ...configs.process.forks import ExitPhase, at_exit, broken_by_exit, refuse_at_exit
from ...configs.words import FailureKind
from ...ledger.budgets.budgets import BudgetExceeded
from ...ledger.rows import CallRow
from ..conversation.mending import Mending
from ..errors import failure_of
from ..failures import FAILURES
from ..guards.budget import Bound, bounded, uncapped
from ..guards.guards import Grant, Guards
from ..request import ModelRequest, one_line
from .bill import Bill, CallRecorder, Verdict
from .validation import fault

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

    from ...backends.replies.reply import Reply
    from ...ledger.ledger import Ledger
    from ..guards.tokens import TokenCaps
    from .clients import Ready

__all__ = ["ModelCall", "close_all", "fund"]

_UNTOLD: Final = "unknown"
"""Recorded as the answering model if the provider does not name it: never assumed to be the model asked."""
_GAVE_UP: Final = "the caller did not wait for the end"
_OVER: Final = "the process ended"


@dataclass(eq=False, repr=False)
class ModelCall:
    """One request to one model: admitted, invoked, validated, settled and recorded.

    Use it as a ``with`` block. Leaving the block before `answered` or `failed` has ended the call (an exception, a
    cancelled task, a stream that its reader closed or dropped, the end of the process) ends it as cancelled: it is
    still charged and recorded.

    Attributes:
        card: The model to ask.
        ask: The request.
        messages: The conversation in a form the model takes.
        options: Keyword arguments for the request.
        backend: The backend of the model's provider.
        grant: What the call was admitted with.
        booking: Writes its row.
        row_id: Id of its row, if known before the call.
        notes: Options of the request that its model does not support, for the row.
        ready: Its chat model; None if it is answered elsewhere, as in a batch.
        number: Which call of the request it is, from 1.
        bill: What it used and costs.
        unwanted: Why its answer is no longer needed, for the row of a cancelled call.
        task: The task that makes it, if another task may have to cancel it.
    """

    card: ModelCard
    ask: ModelRequest
    messages: Sequence[BaseMessage]
    options: dict[str, Any]
    _: KW_ONLY
    backend: Backend
    grant: Grant
    booking: InitVar[CallRecorder]
    row_id: InitVar[str | None] = None
    notes: Sequence[str] = ()
    ready: Ready | None = None
    number: int = 1
    unwanted: str = ""
    task: asyncio.Task[Any] | None = None
    # Popped by the thread that ends the call: of two threads, only one can.
    _unended: list[bool] = field(default_factory=lambda: [True])
    _over: bool = False
    _mending: Mending | None = None
    _process: int = field(default_factory=os.getpid)

    def __post_init__(self, booking: CallRecorder, row_id: str | None) -> None:
        self.bill = Bill(self.card, self.ask, self.messages, self.grant, booking, row_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._unended:
            self.close("" if error is None or isinstance(error, _USUAL) else type(error).__name__)

    def __del__(self) -> None:
        # Nothing else closes a stream that its reader dropped or whose event loop is gone. This can run inside the
        # garbage collector, which must not wait for a lock, so another thread closes it.
        if getattr(self, "_unended", False):
            _dropped.put(self)

    def close(self, why: str = "") -> None:
        """End the call as cancelled, unless it has already ended; a second call does nothing.

        Args:
            why: The reason, for the row.
        """
        # Set before claiming: a thread that finds the call ended reads the reason at once.
        self._over = self._over or why == _OVER
        if not self._claimed():
            return
        if self._process != os.getpid():
            # A forked child holds a copy of its parent's call; the parent ends it.
            return
        if not self.bill.begun:
            self.grant.give_back()
            return
        self.bill.break_off()
        wrong = FailureKind.CANCELLED, f"broken off: {self.unwanted or why or _GAVE_UP}"
        self.bill.write(wrong, self.notes, attempt=self.number)

    def _claimed(self) -> bool:
        """Claim the end of the call; return False if it has already been claimed."""
        try:
            self._unended.pop()
        except IndexError:
            return False
        _under_way.pop(self, None)
        return True

    def _claim(self) -> None:
        if not self._claimed():
            if self._over:
                refuse_at_exit()
            raise ConfigError("what a call ran on was closed before it ended: keep it open until all calls are over")

    def sent(self, tells: bool | None = None, at: float | None = None) -> None:
        """Note that the request is being sent; takes the same arguments as `Bill.begin`."""
        _under_way[self] = None
        _dropped.watch()
        self.bill.begin(tells, at)

    async def invoke(self, until: float) -> AIMessage:
        """Send the request and return the reply.

        Args:
            until: When the reply is due, in the event loop's seconds.

        Raises:
            BackendError: No complete reply arrived; the provider's error, translated.
        """
        try:
            async with asyncio.timeout_at(until):
                ready, binding = self._bound()
                if until <= asyncio.get_running_loop().time():
                    # The timeout would only take effect at the first await, after the request counts as sent.
                    raise TimeoutError
                self.sent(ready.tells)
                # RoutedChatModel is already inside LangChain's own layer: a second one would trace every token twice
                # and cost as much as all of the routing.
                result = await ready.client._agenerate(list(self.messages), **binding, **self.options)
                message: AIMessage = _told(result.generations[0], result.llm_output)
                return message
        except Exception as error:
            raise self.translated(error) from error

    def _bound(self) -> tuple[Ready, Mapping[str, Any]]:
        """Return the chat model, and the arguments that give it the request's tools."""
        if self.ready is None:
            raise RuntimeError("the call has no chat model")
        return self.ready, self.ready.binding(self.ask, self.card) if self.ask.tools else _NO_TOOLS

    async def chunks(self) -> AsyncGenerator[AIMessageChunk]:
        """Send the request and yield the reply as it arrives, counting each chunk; the client's errors pass through."""
        ready, binding = self._bound()
        self.sent(ready.tells)
        stream: Any = ready.client._astream(list(self.messages), **binding, **self.options)
        async with aclosing(stream) as generations:
            async for generation in generations:
                chunk: Any = _told(generation) if generation.generation_info else generation.message
                if self._mending is None and (chunk.additional_kwargs or not _is_plain(chunk)):
                    self._mending = Mending(self.ask)
                if self._mending is not None:
                    self._mending.chunk(chunk)
                self.bill.count(chunk)
                yield chunk

    def translated(self, error: Exception) -> BackendError:
        """Translate a client's exception or a timeout into a `BackendError`.

        Raises:
            PointsmanError: The process is exiting, which is not the provider's failure; the call ends as cancelled.
        """
        if broken_by_exit(error):
            self.close(_OVER)
            refuse_at_exit()
        if isinstance(error, TimeoutError):
            return BackendError(FailureKind.TIMEOUT, "no complete answer in time")
        failure = failure_of(self.backend, error)
        if failure is not error:
            failure.__cause__ = error
        return failure

    def answered(self, message: AIMessage, streamed: AIMessageChunk | None = None) -> tuple[CallRow, Verdict | None]:
        """End the call with a complete reply.

        Args:
            message: The reply.
            streamed: The merged chunks of the same reply: the message's calls hide broken JSON, only they show it.

        Returns:
            Its row, and what is wrong with the reply, or None if the reply can be used.

        Raises:
            ConfigError: The call was already ended, because what it runs on was closed.
        """
        self._claim()
        try:
            reply = self.backend.read(message if streamed is None else streamed)
        except Exception as error:  # noqa: BLE001 - whatever a reply holds, the call is paid for
            wrong = FailureKind.MALFORMED, f"unreadable reply: {type(error).__name__}"
            self.bill.settle(None, billed=True)
            return self.bill.write(wrong, self.notes, attempt=self.number), wrong
        # Settle first: whatever is wrong with the reply, its cost has then been counted.
        if reply.usage is None and streamed is not None and reply.finish is None:
            self.bill.break_off()
        else:
            self.bill.settle(reply.usage, billed=True)
        verdict = self._verdict(message, reply)
        row = self.bill.write(
            verdict,
            (reply.doubt, *self.notes),
            attempt=self.number,
            answered_by=reply.model or _UNTOLD,
            finish=reply.finish,
            confidence=message.response_metadata.get("confidence"),
        )
        return row, verdict

    def failed(self, error: BackendError, *, billed: bool | None = None) -> CallRow:
        """End the call without a complete reply.

        Args:
            error: Why there is none.
            billed: Whether the provider billed it; None if it does not say, then the error decides.

        Returns:
            Its row.

        Raises:
            ConfigError: As in `answered`.
        """
        self._claim()
        refused = error.status is not None and error.status >= 400
        sent = error.sent or self.bill.connected
        perhaps = sent and not refused and FAILURES[error.kind].perhaps_billed
        self.bill.break_off(billed=billed, perhaps=perhaps)
        return self.bill.write((error.kind, one_line(error)), self.notes, attempt=self.number)

    def _verdict(self, message: AIMessage, reply: Reply) -> Verdict | None:
        try:
            if self._mending is not None or not _is_plain(message):
                (self._mending or Mending(self.ask)).message(message)
            elif reply.failure is None and reply.model in (None, self.card.name) and not self.ask.tools:
                # A text from the model that was asked, which had no tools to call.
                return None
            return fault(self.ask, self.card, self.backend, message, reply)
        except Exception as error:  # noqa: BLE001 - a reply that cannot be checked cannot be used
            return FailureKind.MALFORMED, one_line(f"the reply cannot be checked: {type(error).__name__}: {error}")


_NO_TOOLS: Final[Mapping[str, Any]] = MappingProxyType({})
_CALLS: Final = ("tool_calls", "invalid_tool_calls", "tool_call_chunks")
_USUAL: Final = (asyncio.CancelledError, GeneratorExit)
_under_way: weakref.WeakKeyDictionary[ModelCall, None] = weakref.WeakKeyDictionary()


os.register_at_fork(after_in_child=_under_way.clear)


async def fund(
    call: ModelCall,
    guards: Guards,
    scopes: Mapping[str, int | None],
    tokens: TokenCaps | None,
    patience: float = 0.0,
) -> None:
    """Reserve a call's worst case, and limit its output to what the reservation covers, or to what was requested.

    Args:
        call: The admitted call; closed if this raises.
        guards: Give the budgets and prices.
        scopes: Budget scopes it counts against, each with its cap in picodollars.
        tokens: The token caps it counts against.
        patience: Seconds to wait for reservations of parallel calls to be released.

    Raises:
        BudgetExceeded: A cap leaves too little.
    """

    def worst() -> Bound:
        settled = guards.settled(call.card)
        return bounded(
            guards.prices, call.card, call.ask, call.messages, call.options, backend=call.backend, settled=settled
        )

    if not scopes and tokens is None:
        call.options = uncapped(call.ask, call.options, call.backend)
        return
    try:
        bound = worst()
        if tokens is not None:
            call.grant.tokens = tokens, await tokens.reserve(bound.input + bound.output, patience)
        while scopes and bound.most:
            budgets = guards.budgets()
            # The row to record if the process is killed during the call; the call's own row has the same id.
            row = call.bill.recorder.row(call.card, at=time.time(), attempt=call.number, failure=FailureKind.LOST.value)
            try:
                reservation = await budgets.acquire(scopes, bound.most, patience, sent=True, row=row)
            except BudgetExceeded:
                # Meanwhile other calls may have learned something about the provider that lowers the bound.
                before, bound = bound, worst()
                if bound.most >= before.most:
                    raise
            else:
                call.grant.money = budgets, reservation
                call.bill.row_id = row.id
                break
    except BaseException:
        call.close()
        raise
    call.options, call.bill.most_input = bound.options, bound.input


def close_all(why: str, ledger: Ledger | None = None) -> None:
    """End all calls in progress as cancelled.

    Args:
        why: The reason, for their rows.
        ledger: Only calls recorded in this ledger; None for all.
    """
    # Listed at once, since other threads start calls meanwhile.
    for call in [call for ref in _under_way.keyrefs() if (call := ref()) is not None]:
        if ledger is None or call.bill.recorder.ledger is ledger:
            # A call whose row cannot be written is charged as reserved when its reservation is reclaimed.
            with suppress(Exception):
                call.close(why)


@at_exit(ExitPhase.CLOSE)
def _at_exit() -> None:
    close_all(_OVER)


def _told(generation: Any, beside: Mapping[str, Any] | None = None) -> Any:
    """Return a generation's message with the vendor's metadata added, as LangChain's own layer adds it."""
    message = generation.message
    if generation.generation_info or beside:
        message.response_metadata = {
            **(beside or {}),
            **(generation.generation_info or {}),
            **message.response_metadata,
        }
    return message


def _is_plain(message: AIMessage) -> bool:
    """Return whether a reply, or a chunk of one, is only ASCII text, which needs no mending."""
    content, held = message.content, vars(message)
    return isinstance(content, str) and content.isascii() and not any(map(held.get, _CALLS))


class _Dropped:
    """A thread that closes abandoned calls, since a destructor must not wait for a lock; one for each process."""

    def __init__(self) -> None:
        # Unlike Queue, its put may be called from a destructor that interrupts another put in the same thread.
        self._things: queue.SimpleQueue[ModelCall] = queue.SimpleQueue()
        self._watching = 0

    def watch(self) -> None:
        """Start the thread if it does not run; must not be called from a destructor."""
        if self._watching != os.getpid():
            self._watching = os.getpid()
            threading.Thread(target=self._close_all, name="pointsman-dropped", daemon=True).start()

    def put(self, thing: ModelCall) -> None:
        """Have a call closed soon."""
        self._things.put(thing)

    def _close_all(self) -> None:
        while True:
            thing = self._things.get()
            # No caller is left to report an error to.
            with suppress(Exception):
                thing.close()
            del thing


_dropped: Final = _Dropped()
