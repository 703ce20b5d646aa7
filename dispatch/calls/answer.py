"""One usable answer from a chain of models, whole or in chunks, with a hedged second model for critical calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ...ledger.budgets.budgets import BudgetExceeded
from .call import ModelCall
from .fallback import FallbackChain
from .hedging import first_of
from .replay import until_over
from .stream import Streamed, as_chunk, bounded, closing_chunk

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk

    from .replay import Replay

__all__ = ["answered", "streamed"]

T = TypeVar("T")

_NOTHING_PAID: Final = nullcontext()


async def answered(chain: FallbackChain) -> AIMessage:
    """Ask models until one gives a usable answer; raises the same errors as `Dispatcher.call`."""
    if chain.kept is not None and (message := await _kept_answer(chain)) is not None:
        return message
    critical = chain.ask.declared.latency == "critical"
    with _NOTHING_PAID if chain.replay is None else until_over(chain.replay):
        while (call := await chain.next()) is not None:
            message = await (_raced(chain.answer, chain, call) if critical else chain.answer(call))
            if message is not None:
                if chain.kept is not None or chain.replay is not None:
                    await _keep(chain, message)
                return message
        return await _last_resort(chain)


async def streamed(
    begin: Callable[[Replay | None], Awaitable[FallbackChain]], replayed: Callable[[], Replay | None]
) -> AsyncGenerator[AIMessageChunk]:
    """Do the same in chunks, as `Dispatcher.stream` yields them; calls both arguments when the first chunk is read."""
    from .retraction import retracting

    replay = replayed()
    if replay is not None and (given := await replay.answer()) is not None:
        yield as_chunk(given)
        return
    chain = await begin(replay)
    ask = chain.ask
    kept = await _kept_answer(chain)
    if kept is not None:
        yield as_chunk(kept)
        return
    with _NOTHING_PAID if chain.replay is None else until_over(chain.replay):
        while (call := await chain.next()) is not None:
            said = await _raced(partial(_opened, chain), chain, call, Streamed.aclose)
            if said is None:
                continue
            async with aclosing(said):
                try:
                    async for chunk in said.ready():
                        yield chunk
                except Exception as error:
                    failure = said.call.translated(error)
                    await chain.failed(said.call, failure)
                    if said.handed and ask.on_cut == "report":
                        raise chain.cut(failure) from error
                else:
                    message = said.message()
                    if chain.accept(said.call, message, chunks=said.whole):
                        await _keep(chain, message)
                        for chunk in said.held:
                            yield chunk
                        yield closing_chunk(message)
                        return
                    if said.handed and ask.on_cut == "report":
                        raise chain.cut()
            if said.handed:
                yield retracting(said.whole.id if said.whole else None)
        yield as_chunk(await _last_resort(chain))


async def _kept_answer(chain: FallbackChain) -> AIMessage | None:
    """Return an earlier answer to the same request, at no cost; None if there is none or the policy keeps none."""
    found = None if chain.kept is None else await chain.kept.get()
    return None if found is None else chain.accounted(*found)


async def _last_resort(chain: FallbackChain) -> AIMessage:
    """Return an old answer to the same or a similar question, if the policy allows it.

    Raises:
        ConfigError: As `FallbackChain.error`.
        AllFailed: As `FallbackChain.error`.
    """
    found = None if chain.kept is None else await chain.kept.stand_in(chain.made)
    if found is None:
        raise chain.error()
    return chain.accounted(*found)


async def _keep(chain: FallbackChain, message: AIMessage) -> None:
    if chain.kept is not None:
        await chain.kept.keep(message)
    if chain.replay is not None:
        chain.replay.keep(message)


async def _raced(
    work: Callable[[ModelCall], Coroutine[Any, Any, T | None]],
    chain: FallbackChain,
    call: ModelCall,
    discard: Callable[[T], Awaitable[None]] | None = None,
) -> T | None:
    """Return the result of ``work`` for a call, hedged by a second call if latency is critical."""
    if chain.ask.declared.latency != "critical":
        return await work(call)

    async def second() -> Coroutine[Any, Any, T | None] | None:
        try:
            other = await chain.next()
        except BudgetExceeded:
            # The first may still answer.
            return None
        return None if other is None else work(other)

    try:
        return await first_of(work(call), second, chain.limits.hedge, discard)
    except BaseException:
        # A task that is cancelled before it starts never runs its own cleanup.
        call.close()
        raise


async def _opened(chain: FallbackChain, call: ModelCall) -> Streamed | None:
    """Open one model's stream and read it up to its first words; return None if it fails before them."""
    call.task = asyncio.current_task()
    chunks = bounded(call.chunks(), chain.deadline, chain.limits)
    if chain.ask.on_cut == "retract":
        chunks = _retractable(chunks)
    said = Streamed(call, chunks, hold_all=chain.ask.output is not None)
    try:
        await said.open()
    except asyncio.CancelledError:
        await said.aclose()
        # Cancelled by this chain, not by the caller: the race goes on without it.
        if call.unwanted:
            return None
        raise
    except Exception as error:  # noqa: BLE001 - translated, so that provider failures and our own errors are kept apart
        await chain.failed(call, call.translated(error))
        return None
    except BaseException:
        call.close()
        raise
    chain.begun(call)
    # From here on the reader of the rest is responsible for the call.
    return said


async def _retractable(chunks: AsyncGenerator[AIMessageChunk]) -> AsyncGenerator[AIMessageChunk]:
    from .retraction import retractable

    async with aclosing(chunks):
        async for chunk in chunks:
            yield retractable(chunk)
