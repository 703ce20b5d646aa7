"""The embedder that the configuration names, each request of which is booked like a model call."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from ..configs.errors import ConfigError
from ..configs.schema import LOCAL_EMBEDDERS, Prices, Settings
from .defaults import shared_dispatcher

if TYPE_CHECKING:
    from ..backends.ondevice import Embedder
    from .dispatcher import Dispatcher

__all__ = ["embedder_of"]


def embedder_of(settings: Settings, dispatcher: Callable[[], Dispatcher] | None = None) -> Embedder:
    """Make the embedder of a project's memory. It sends no request before its first use.

    Offline, a hosted embedder is not simulated, since made-up vectors find nothing. The default embedder is used
    instead, and its items are kept apart from the others.

    Args:
        settings: Names the embedder and its provider.
        dispatcher: Returns what a provider's requests are booked on; by default, the one these settings share.

    Raises:
        ConfigError: The provider may not be used, cannot embed or has no key; or an extra or a file is missing.
    """
    from ..backends import embedders
    from ..backends.base import Endpoint
    from .calls.embedding import EmbeddingCalls

    name, dimensions = settings.embedder.model, settings.embedder.dimensions
    kind, _, model = name.partition("/")
    if kind not in LOCAL_EMBEDDERS:
        provider, approved = settings.providers[kind], settings.routing.approved
        if not provider.enabled:
            raise ConfigError(f"embedder {name}: the provider {kind} is switched off in the configuration")
        if approved is not None and kind not in approved and name not in approved:
            raise ConfigError(f"embedder {name}: routing.approved leaves out the provider {kind}")
        able = [own for own in embedders.EMBEDDERS if own not in LOCAL_EMBEDDERS]
        if provider.backend not in able:
            raise ConfigError(f"embedder {name}: only providers of the backends {', '.join(able)} embed texts")
        if settings.offline and not provider.local:
            return embedders.embedder(LOCAL_EMBEDDERS[0])
        if provider.key and settings.key_of(kind) is None:
            raise ConfigError(f"embedder {name}: the provider {kind} has no key: set {provider.key}")
        endpoint = Endpoint(
            model,
            base_url=provider.base_url,
            key=settings.key_of(kind),
            timeout=settings.routing.limits.call,
        )
        # Nobody charges for a server of one's own.
        own = Prices(input=0, output=0, as_of=datetime.now(UTC).date()) if provider.local else None
        booking = EmbeddingCalls.of(
            name, settings.embedder.prices or own, dispatcher or partial(shared_dispatcher, settings)
        )
        return embedders.embedder(f"{provider.backend}/{model}", endpoint, dimensions=dimensions, booking=booking)
    if kind == "onnx":
        name = f"{kind}/{settings.project / os.path.expanduser(model)}"
    options = {"local_files_only": True} if settings.offline else {}
    return embedders.embedder(name, Endpoint(name, options=options), dimensions=dimensions)
