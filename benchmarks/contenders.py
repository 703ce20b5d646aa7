"""The contenders, each with the same three methods; a contender's library is only imported when it is built.

All have the same three models in the same order: the primary, one of another provider, and a larger, stronger one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

__all__ = ["CONTENDERS", "KEY", "PRIMARY", "Contender", "Setting", "chat_openai", "runtime", "told"]

PRIMARY, SECOND, THIRD = "gpt-5.4-mini", "deepseek-v4-flash", "openai/gpt-5.5"
KEY = "simulated"
_OTHERS = ("deepseek", "openrouter")

Setting = dict[str, Any]
"""``url`` of the simulator, and what is not the default: ``seconds`` a model may be silent, ``cap`` in USD, JSON ``schema``
of the answer."""


class Contender(Protocol):
    """A system that answers a prompt."""

    async def plain(self, prompt: str) -> str:
        """Return the answer without streaming."""

    async def streamed(self, prompt: str) -> str:
        """Return the text that a consumer of the stream has at its end."""

    def settle(self) -> None:
        """Wait for work deferred to other threads; by default there is none."""


class Pointsman:
    """`RoutedChatModel` with decision, breaker, headroom, ledger and, given a cap, budget."""

    def __init__(self, setting: Setting) -> None:
        from pointsman.agents.runs import run_scope
        from pointsman.dispatch.calls.retraction import retracts
        from pointsman.dispatch.model import RoutedChatModel

        self._folder = tempfile.TemporaryDirectory(prefix="pointsman-benchmark-")
        limits = dict.fromkeys(("call", "first_token", "stall"), setting.get("seconds"))
        files = {"routing": {"routing": {"limits": limits}}} if setting.get("seconds") else {}
        self._runtime = runtime(Path(self._folder.name), setting["url"], *_OTHERS, **files)
        model: Any = RoutedChatModel(
            kind="transform",
            prefer=f"openai/{PRIMARY}",
            max_output=256,
            on_cut="retract",
            dispatcher=self._runtime.dispatcher,
        )
        schema = setting.get("schema")
        self._model = model.with_structured_output(schema) if schema else model
        self._retracts = retracts
        self._scope = run_scope(self._runtime, "benchmark", max_cost=setting.get("cap"))
        self._scope.__enter__()

    async def plain(self, prompt: str) -> str:
        return told(await self._model.ainvoke(prompt))

    async def streamed(self, prompt: str) -> str:
        said: list[Any] = []
        async for chunk in self._model.astream(prompt):
            # Each chunk of a structured answer is the whole object so far.
            if isinstance(chunk, dict) or self._retracts(chunk):
                said.clear()
            said.append(chunk)
        return told(said[-1]) if isinstance(said[-1], dict) else "".join([str(chunk.content) for chunk in said])

    def settle(self) -> None:
        self._runtime.ledger.flush()

    def close(self) -> None:
        """Close the ledger and delete its folder."""
        self._scope.__exit__(None, None, None)
        self._runtime.close()
        self._folder.cleanup()


class LangChain(Contender):
    """langchain-openai's `ChatOpenAI`, called directly."""

    def __init__(self, setting: Setting) -> None:
        self._model = chat_openai(setting, "openai", PRIMARY)

    async def plain(self, prompt: str) -> str:
        return told(await self._model.ainvoke(prompt))

    async def streamed(self, prompt: str) -> str:
        return "".join([str(chunk.content) async for chunk in self._model.astream(prompt)])


class Middleware(Contender):
    """langchain's agent without tools, under `ModelFallbackMiddleware`."""

    def __init__(self, setting: Setting) -> None:
        from langchain.agents import create_agent
        from langchain.agents.middleware import ModelFallbackMiddleware

        fallback = ModelFallbackMiddleware(
            chat_openai(setting, "deepseek", SECOND), chat_openai(setting, "openrouter", THIRD)
        )
        self._agent: Any = create_agent(chat_openai(setting, "openai", PRIMARY), [], middleware=[fallback])

    async def plain(self, prompt: str) -> str:
        state = await self._agent.ainvoke({"messages": [("user", prompt)]})
        return told(state["messages"][-1])

    async def streamed(self, prompt: str) -> str:
        chunks = self._agent.astream({"messages": [("user", prompt)]}, stream_mode="messages")
        return "".join([str(chunk.content) async for chunk, _ in chunks])


class LiteLLM(Contender):
    """`litellm.Router` with fallbacks, no retries and default cool-downs; callbacks run on the event loop."""

    def __init__(self, setting: Setting) -> None:
        # Otherwise the library fetches a price table from the network when it is imported.
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        import litellm

        litellm.suppress_debug_info = True
        litellm.telemetry = False
        entries = [("primary", "openai", PRIMARY), ("second", "deepseek", SECOND), ("third", "openrouter", THIRD)]
        self._router = litellm.Router(
            model_list=[
                {
                    "model_name": name,
                    "litellm_params": {
                        "model": f"openai/{model}",
                        "api_base": f"{setting['url']}/{vendor}/v1",
                        "api_key": KEY,
                        **({"timeout": setting["seconds"]} if setting.get("seconds") else {}),
                    },
                }
                for name, vendor, model in entries
            ],
            fallbacks=[{"primary": ["second", "third"]}],
            num_retries=0,
        )

    async def plain(self, prompt: str) -> str:
        reply: Any = await self._router.acompletion("primary", messages=[{"role": "user", "content": prompt}])
        return reply.choices[0].message.content or ""

    async def streamed(self, prompt: str) -> str:
        chunks: Any = await self._router.acompletion(
            "primary", messages=[{"role": "user", "content": prompt}], stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])


CONTENDERS: dict[str, Callable[[Setting], Contender]] = {
    "pointsman": Pointsman,
    "langchain-openai": LangChain,
    "fallback-middleware": Middleware,
    "litellm-router": LiteLLM,
}


def runtime(folder: Path, url: str, *others: str, environ: Mapping[str, str] = {}, **files: Any) -> Any:
    """Return a `Runtime` with the built-in catalogue in which only the three models of the benchmark are reachable.

    Args:
        folder: Folder of the project; existing files are kept.
        url: URL of the simulator.
        others: Vendors besides OpenAI that have keys.
        environ: Further environment variables.
        files: Name -> content of further configuration files.
    """
    import yaml
    from pointsman.agents.runtime import Runtime
    from pointsman.configs.loading.loader import load

    for name, content in {"models": _catalogue(url), **files}.items():
        if not (file := folder / f"{name}.yaml").exists():
            file.write_text(yaml.safe_dump(content))
    keys = {f"{vendor.upper()}_API_KEY": KEY for vendor in ("openai", *others)}
    return Runtime(load(folder, environ={**keys, **environ}))


def _catalogue(url: str) -> dict[str, Any]:
    return {
        "providers": {
            **{name: {"base_url": f"{url}/{name}/v1"} for name in ("openai", "deepseek", "openrouter")},
            "ollama": {"enabled": False},
            "vllm": {"enabled": False},
        },
        "models": {
            # A task that no request has, so that these models are considered like all others but never chosen.
            "openai/gpt-5.5": {"tasks": ["none"]},
            "openai/gpt-5.5-pro": {"tasks": ["none"]},
            f"openrouter/{THIRD}": {"tier": "advanced", "tools": True, "structured": True, "context": 1_050_000},
        },
    }


def chat_openai(setting: Setting, vendor: str, model: str) -> Any:
    """Return a default `ChatOpenAI`; with a time-out it does not retry, since the next model is the fallback."""
    from langchain_openai import ChatOpenAI

    seconds = setting.get("seconds")
    bounded = {"timeout": seconds, "stream_chunk_timeout": seconds, "max_retries": 0} if seconds else {}
    return ChatOpenAI(model=model, api_key=KEY, base_url=f"{setting['url']}/{vendor}/v1", **bounded)  # type: ignore[arg-type]


def told(answer: Any) -> str:
    """Return the text of a message, or a structured answer as text."""
    return str(answer) if isinstance(answer, dict) else str(answer.text)
