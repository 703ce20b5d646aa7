"""What responses say of rate limits is heard as they come in, from the real SDKs over real HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from pointsman.backends import registry
from pointsman.backends.base import Endpoint
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.errors import AllFailed
from pointsman.dispatch.guards.rate_limit import RateLimitKey
from pointsman.dispatch.model import RoutedChatModel
from pointsman.simulator import Answer, Fault, Match, RateLimit, Rule, Scenario, Simulator
from pydantic import SecretStr

Make = Callable[..., Dispatcher]


def _one(home: Dispatcher, name: str, **facts: Any) -> RoutedChatModel:
    return RoutedChatModel(kind="transform", dispatcher=home, prefer=name, **facts)


class Refill:
    """What a limit can have got back since its beginning, by the real time."""

    def __init__(self, per_minute: float) -> None:
        self._rate, self._began = per_minute / 60, time.monotonic()

    @property
    def most(self) -> float:
        return self._rate * (time.monotonic() - self._began) + 0.01


async def _ask(model: Any, stream: bool) -> None:
    if stream:
        async for _ in model.astream("Tell me about the Cam"):
            pass
    else:
        await model.ainvoke("Tell me about the Cam")


@pytest.mark.parametrize("name", ["anthropic/claude-haiku-4-5", "openai/gpt-5.4-mini"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_call_leaves_what_is_left_known(
    dispatcher: Make, simulator: Simulator, name: str, stream: bool
) -> None:
    vendor = name.partition("/")[0]
    simulator.scenario = Scenario(rate_limits={vendor: RateLimit(requests_per_minute=6)})
    home, refill = dispatcher(), Refill(6)
    await _ask(_one(home, name), stream)
    left = home.rate_limiter.left(RateLimitKey(*name.split("/", 1)))
    assert 5 <= left["requests"] <= 5 + refill.most


async def test_headers_count_before_the_answer_is_there(dispatcher: Make, simulator: Simulator) -> None:
    """A stream that takes its time has told what is left when it begins."""
    simulator.scenario = Scenario(
        rules=(Rule(answer=Answer(text="one two three four"), latency={"chunk_gap_ms": 50}),),  # type: ignore[arg-type]
        rate_limits={"openai": RateLimit(requests_per_minute=60)},
    )
    home, refill = dispatcher(), Refill(60)
    key = RateLimitKey("openai", "gpt-5.4-mini")
    stream = _one(home, "openai/gpt-5.4-mini").astream("Tell me about the Cam")
    known = [home.rate_limiter.left(key).get("requests") async for _ in stream]
    assert 59 <= (known[0] or 0) <= 59 + refill.most


async def test_parallel_calls_each_count_once(dispatcher: Make, simulator: Simulator) -> None:
    simulator.scenario = Scenario(
        rules=(Rule(answer=Answer(text="ok"), latency=100),),  # type: ignore[arg-type]
        rate_limits={"anthropic": RateLimit(requests_per_minute=60)},
    )
    home, refill = dispatcher(), Refill(60)
    model = _one(home, "anthropic/claude-haiku-4-5")
    await asyncio.gather(*(model.ainvoke("Tell me about the Cam") for _ in range(20)))
    left = home.rate_limiter.left(RateLimitKey("anthropic", "claude-haiku-4-5"))["requests"]
    # The answer that came last need not be the one that was counted last.
    assert 39 <= left <= 40 + refill.most


async def test_a_refusals_headers_keep_the_next_call_away(dispatcher: Make, simulator: Simulator) -> None:
    """Whoever else uses the key has used it up: the first refusal is the last."""
    limit = RateLimit(requests_per_minute=1, burst=1)
    simulator.scenario = Scenario(rate_limits={"anthropic": limit})
    # The breaker would honour the refusal's `retry-after`; here its headers alone must do.
    home = dispatcher(
        routing__approved=["anthropic/claude-haiku-4-5", "google/gemini-3.5-flash"],
        routing__health={"longest_hold": 0.001, "consecutive": 100},
    )
    stranger = registry.get("anthropic").chat_model(
        Endpoint(model="claude-haiku-4-5", base_url=simulator.url("anthropic"), key=SecretStr("not-a-real-key"))
    )
    await stranger.ainvoke("Tell me about the Cam")
    simulator.log.clear()
    model = _one(home, "anthropic/claude-haiku-4-5")
    for _ in range(3):
        answer = await model.ainvoke("Tell me about the Cam")
        assert answer.response_metadata["pointsman"]["model"] == "google/gemini-3.5-flash"
    assert home.rate_limiter.left(RateLimitKey("anthropic", "claude-haiku-4-5"))["requests"] < 1
    assert [served.vendor for served in simulator.log].count("anthropic") == 1


async def test_configured_limits_spread_calls_before_the_provider_has_to_refuse(
    dispatcher: Make, simulator: Simulator
) -> None:
    scenario = Scenario(
        rules=(
            Rule(match=Match(vendor="google", after=3), fault=Fault("rate_limit", retry_after=0.01)),
            Rule(answer=Answer(text="ok")),
        )
    )
    names = ["google/gemini-3.5-flash", "anthropic/claude-haiku-4-5"]

    async def refused(**flags: Any) -> int:
        simulator.scenario = scenario
        simulator.log.clear()
        home = dispatcher(routing__approved=names, **flags)
        for _ in range(6):
            await _one(home, names[0]).ainvoke("Tell me about the Cam")
        return sum(served.status == 429 for served in simulator.log)

    assert await refused() > 0
    assert await refused(**{"models__google/gemini-3.5-flash__rpm": 3}) == 0


async def test_a_limit_on_tokens_is_kept_as_configured(dispatcher: Make, simulator: Simulator) -> None:
    name = "openai/gpt-5.4-mini"
    home = dispatcher(routing__approved=[name], routing__limits={"deadline": 30}, **{f"models__{name}__tpm": 300})
    model = _one(home, name, max_output=250)
    await model.ainvoke("Tell me about the Cam")
    with pytest.raises(AllFailed, match="tokens"):
        await asyncio.gather(*(model.ainvoke("Tell me about the Cam") for _ in range(10)))
