"""Backends pass on what responses say beside their bodies: the real SDKs over real HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pointsman.backends import registry
from pointsman.backends.base import Endpoint
from pointsman.simulator import RateLimit, Rule, Scenario, Simulator
from pydantic import SecretStr

MODELS = {
    "anthropic": "claude-haiku-4-5",
    "openai": "gpt-5.4-mini",
    "openai_compatible": "gpt-5.4-mini",
    "google": "gemini-3.5-flash",
}
VENDOR = {"openai_compatible": "vllm"}
SAYS = {"anthropic": "anthropic-ratelimit-requests-remaining"}


def _built(simulator: Simulator, backend: str, hear: Any, **options: Any) -> Any:
    return registry.get(backend).chat_model(
        Endpoint(
            model=MODELS[backend],
            base_url=simulator.url(VENDOR.get(backend, backend)),
            key=SecretStr("not-a-real-key"),
            on_headers=hear,
            options=options,
        )
    )


async def _ask(model: Any, stream: bool) -> None:
    if stream:
        async for _ in model.astream("Tell me about the Cam"):
            pass
    else:
        await model.ainvoke("Tell me about the Cam")


@pytest.mark.parametrize("backend", ["anthropic", "openai", "openai-responses", "openai_compatible"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", [None, "rate_limit", "overloaded", "auth"])
async def test_the_headers_of_every_response_are_passed_on(
    simulator: Simulator, backend: str, stream: bool, fault: Any
) -> None:
    backend, _, responses = backend.partition("-")
    vendor = VENDOR.get(backend, backend)
    simulator.scenario = Scenario(rules=(Rule(fault=fault),), rate_limits={vendor: RateLimit(requests_per_minute=60)})
    heard: list[Mapping[str, str]] = []
    model = _built(simulator, backend, heard.append, **({"use_responses_api": True} if responses else {}))
    try:
        await _ask(model, stream)
    except Exception:  # each client raises its own
        assert fault is not None
    (headers,) = heard
    assert headers[SAYS.get(vendor, "x-ratelimit-remaining-requests")] == "59"
    assert ("retry-after" in headers) == (fault == "rate_limit")


@pytest.mark.parametrize("backend", list(MODELS))
async def test_nobody_need_listen(simulator: Simulator, backend: str) -> None:
    simulator.scenario = Scenario()
    await _ask(_built(simulator, backend, None), stream=False)


async def test_google_tells_no_limits_in_its_headers(simulator: Simulator) -> None:
    simulator.scenario = Scenario(rate_limits={"google": RateLimit(requests_per_minute=60)})
    heard: list[Mapping[str, str]] = []
    await _ask(_built(simulator, "google", heard.append), stream=False)
    assert heard == []
