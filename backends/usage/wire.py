"""Keep the numbers of a stream as they came: the SDKs fit an event to one of many types, and read True and "1" as 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["keep_exact"]

_NO_NUMBER: Final = "no number"


def keep_exact(client: Any) -> None:
    """Have an SDK's client leave what only looks like a number in a usage as something that does not.

    Args:
        client: Of the kind that Anthropic's and OpenAI's SDKs share.
    """
    process = client._process_response_data

    def exact(*, data: Any, **how: Any) -> Any:
        # Chunks of chat completions have no type, and are read by no type either.
        if isinstance(data, Mapping) and "type" in data:
            for holder in (data, data.get("message"), data.get("response")):
                if isinstance(holder, dict) and isinstance(holder.get("usage"), dict):
                    holder["usage"] = _exact(holder["usage"])
        return process(data=data, **how)

    client._process_response_data = exact


def _exact(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _exact(value) if isinstance(value, Mapping) else _spoilt(name, value) for name, value in usage.items()
    }


def _spoilt(name: str, value: Any) -> Any:
    counts = name.endswith(("tokens", "requests"))
    return _NO_NUMBER if counts and isinstance(value, str | bool) else value
