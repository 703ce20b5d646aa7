"""The chat models of the catalogue, built at their first use and kept for each event loop."""

from __future__ import annotations

import asyncio
import hashlib
import json
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...backends import registry
from ...backends.base import Backend, Endpoint
from ...backends.http.clients import tells_reach
from ...backends.http.meter import Asked
from ...backends.options import NOTHING, Said, Wanted
from ...backends.schemas import object_at_top
from ...configs.catalog import ModelCard
from ...configs.process.forks import keep_for_good, reset_in_children
from ...configs.schema import Settings
from ...tools.threads import in_thread
from ..conversation.dialects import Dialect, dialect_of
from ..conversation.naming import tool_names, wire_name
from ..guards.rate_limit import RateLimitKey
from ..offline import played
from .options import choice_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from ..request import ModelRequest

__all__ = ["Clients", "Ready"]

_MOST_BINDINGS: Final = 256
_TURNS: Final = 3
"""Event loop iterations to wait for a dropped connection to close: it takes one, and two under TLS."""


async def _until_the_end(models: dict[str, Ready]) -> AsyncGenerator[None]:
    """Drop an event loop's clients while the loop still runs.

    `asyncio.run` closes open asynchronous generators before it closes the loop; there is no other hook.
    """
    try:
        yield
    finally:
        models.clear()
        for _ in range(_TURNS):
            await asyncio.sleep(0)


class Ready(NamedTuple):
    """A model's chat model on one event loop, with what all its calls share.

    Attributes:
        client: The chat model.
        backend: The backend of the model's provider.
        dialect: What it accepts in a conversation; None if it accepts anything.
        tells: Whether it reports when it has a connection.
        binding: Returns the call arguments that give it the tools of a request.
    """

    client: BaseChatModel
    backend: Backend
    dialect: Dialect | None
    tells: bool
    binding: Callable[[ModelRequest, ModelCard], dict[str, Any]]


@dataclass(eq=False, slots=True)
class _Kept:
    """The chat models of one event loop, the lock for building them, and the generator that drops them at its end."""

    models: dict[str, Ready] = field(default_factory=dict)
    building: asyncio.Lock = field(default_factory=asyncio.Lock)
    end: AsyncGenerator[None] | None = None


class Clients:
    """Builds chat models.

    Connections belong to the event loop they were made on, so each loop has its own models.

    Args:
        settings: Providers, keys and options.
        on_headers: Called with the key whose limits a response reports, and the response's headers.

    Attributes:
        configured: Whether any model has options of its own.
    """

    def __init__(self, settings: Settings, on_headers: Callable[[RateLimitKey, Mapping[str, str]], None]) -> None:
        self._settings = settings
        self._on_headers = on_headers
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Kept] = weakref.WeakKeyDictionary()
        reset_in_children(self)
        self._bindings: dict[Any, dict[str, Any]] = {}
        self._said_of: Mapping[str, ModelCard] | None = None
        self._each_said: dict[str, dict[str, Said]] = {}
        self._backends = {name: registry.get(entry.backend) for name, entry in settings.providers.items()}
        self.configured = any(_options(settings, model) for model in settings.models)
        self._asked: dict[str, Asked] = {}

    def reset_after_fork(self) -> None:
        """Reset in a forked child: connections belong to the parent."""
        keep_for_good(dict(self._loops))
        self._loops = weakref.WeakKeyDictionary()

    def close(self) -> None:
        """Drop the clients of each event loop on that loop, which closes their connections."""
        for loop, kept in list(self._loops.items()):
            with suppress(RuntimeError):  # a loop that has ended dropped them already
                loop.call_soon_threadsafe(kept.models.clear)

    def backend(self, card: ModelCard) -> Backend:
        """Return the backend that serves a card."""
        return self._backends[card.provider]

    def backend_name(self, card: ModelCard) -> str:
        """Return the name of that backend."""
        return self._settings.providers[card.provider].backend

    def asked(self, card: ModelCard) -> Asked:
        """Return what a card's configured options request in each of its calls."""
        asked = self._asked.get(card.id)
        if asked is None:
            asked = self._asked[card.id] = self.backend(card).meter.read(_options(self._settings, card.id))
        return asked

    @cached_property
    def settled(self) -> str:
        """SHA-256 of the configuration of all clients, since an answer may depend on any of it."""
        said = {
            card: [self._settings.providers[card.partition("/")[0]].base_url, _options(self._settings, card)]
            for card in self._settings.models
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()

    async def ready(self, card: ModelCard) -> Ready:
        """Return a card's chat model, built in a thread the first time: loading its SDK takes a second or two."""
        kept = self._kept()
        ready = kept.models.get(card.id)
        if ready is not None:
            return ready
        async with kept.building:
            if kept.end is None:
                kept.end = _until_the_end(kept.models)
                await anext(kept.end)
            if card.id not in kept.models:
                kept.models[card.id] = await in_thread(self._build, card)
            return kept.models[card.id]

    def said(self, ask: ModelRequest, card: ModelCard) -> Said:
        """Translate a request's options into the vocabulary of a model's client."""
        settings = _options(self._settings, card.id) if self.configured else {}
        if not (settings or ask.options or ask.stop or ask.tools or ask.declared.max_output):
            return NOTHING
        options = dict(ask.options)
        if ask.stop:
            options["stop"] = list(ask.stop)
        wanted = Wanted(
            parallel=options.pop("parallel_tool_calls", None),
            strict=options.pop("strict", None),
            options=options,
            choice=choice_of(ask.tool_choice, tool_names(ask.tools)) if ask.tools else None,
            answer=ask.output is not None,
            tools=bool(ask.tools),
            max_output=ask.declared.max_output,
            settings=settings,
        )
        return self.backend(card).said(card.name, wanted)

    def each_said(self, ask: ModelRequest, cards: Mapping[str, ModelCard]) -> dict[str, Said]:
        """Return the result of `said` for each card; equal requests are cached."""
        if cards is not self._said_of or len(self._each_said) >= _MOST_BINDINGS:
            self._said_of, self._each_said = cards, {}
        names = tool_names(ask.tools) if ask.tools else ()
        wanted = (dict(ask.options), ask.stop, ask.tool_choice, names, ask.output, ask.declared.max_output)
        try:
            key = json.dumps(wanted)
        except (TypeError, ValueError):
            # Without a JSON form, a request cannot be identified in the cache.
            return {name: self.said(ask, card) for name, card in cards.items()}
        known = self._each_said.get(key)
        if known is None:
            known = self._each_said[key] = {name: self.said(ask, card) for name, card in cards.items()}
        return known

    def bound(self, ask: ModelRequest, card: ModelCard) -> tuple[BaseChatModel, dict[str, Any]]:
        """Return a card's chat model, built now if not `ready`, and the arguments that give it the request's tools."""
        models = self._kept().models
        ready = models.get(card.id)
        if ready is None:
            ready = models[card.id] = self._build(card)
        return ready.client, self._binding(ready.client, ask, card) if ask.tools else {}

    def _binding(self, client: BaseChatModel, ask: ModelRequest, card: ModelCard) -> dict[str, Any]:
        said = self.said(ask, card)
        key = (card.id, json.dumps(ask.tools), said.choice, said.parallel, said.strict)
        binding = self._bindings.get(key)
        if binding is None:
            choice = said.choice
            if choice is not None and choice.name:
                choice = replace(choice, name=wire_name(choice.name))
            # LangChain lets a tool be bound twice, in two forms; the last one counts, as in the check of the reply.
            tools = {tool["function"]["name"]: _on_the_wire(tool) for tool in ask.tools}
            binding = self.backend(card).bind(client, list(tools.values()), replace(said, choice=choice))
            if len(self._bindings) >= _MOST_BINDINGS:
                self._bindings.clear()
            self._bindings[key] = binding
        return dict(binding)

    def _kept(self) -> _Kept:
        """Return what is kept for the running event loop."""
        loop = asyncio.get_running_loop()
        kept = self._loops.get(loop)
        if kept is None:
            # A client references its loop, so clients of a closed loop would stay alive, with their connections.
            for ref in self._loops.keyrefs():
                if (old := ref()) is not None and old.is_closed():
                    self._loops.pop(old, None)
            kept = self._loops.setdefault(loop, _Kept())
        return kept

    def _build(self, card: ModelCard) -> Ready:
        settings = played(self._settings)
        provider = settings.providers[card.provider]
        backend = self.backend(card)
        _know_block_types()
        client = backend.chat_model(
            Endpoint(
                model=card.name,
                base_url=provider.base_url,
                key=settings.key_of(card.provider),
                region=provider.region,
                timeout=self._settings.routing.limits.deadline,
                cache=self._settings.state / "models",
                on_headers=partial(self._on_headers, RateLimitKey(card.provider, card.name)),
                options=_options(settings, card.id),
            )
        )
        dialect = dialect_of(provider.backend)
        return Ready(client, backend, dialect, tells_reach(client), partial(self._binding, client))


def _know_block_types() -> None:
    """Make LangChain compute only once which blocks hold data.

    It reads the annotations of five types again for every block of every message it sends: a millisecond each, which
    took most of the time in a long conversation.
    """
    from langchain_core.messages import content

    name = "_get_data_content_block_types"
    worked_out = vars(content).get(name)
    if worked_out is not None and not hasattr(worked_out, "cache_info"):
        vars(content)[name] = cache(worked_out)


def _options(settings: Settings, model: str) -> dict[str, Any]:
    """Return the configured extra options of a model's client."""
    return {**settings.providers[model.partition("/")[0]].options, **settings.models[model].options}


def _on_the_wire(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool with a name and a schema that every vendor accepts."""
    function = tool["function"]
    schema = object_at_top(function.get("parameters") or {})
    return {**tool, "function": {**function, "name": wire_name(function["name"]), "parameters": schema}}
