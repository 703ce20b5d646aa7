"""Google's models on Vertex AI, also over langchain-google-genai."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...configs.errors import ConfigError
from ..base import Endpoint
from .google import GoogleBackend, built, settings_of

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = ["VertexBackend"]

_GLOBAL = "global"
_VERSION = "v1beta1"


class VertexBackend(GoogleBackend):
    """Builds `ChatGoogleGenerativeAI` for Vertex AI.

    The endpoint's key is the project's name; access is authorized by Application Default Credentials, or by the option
    ``credentials``.
    """

    def chat_model(self, endpoint: Endpoint) -> BaseChatModel:
        """Build a client that sends one request per call.

        Raises:
            ConfigError: There is no project.
        """
        from langchain_google_genai import ChatGoogleGenerativeAI

        project = endpoint.options.get("project") or (endpoint.key and endpoint.key.get_secret_value().strip())
        if not project:
            raise ConfigError(
                f"{endpoint.model} needs a Google Cloud project: give its provider a `key:`, the name of the "
                "environment variable that holds the project's name, and set that variable"
            )
        settings = {
            **settings_of(endpoint),
            "vertexai": True,
            "api_version": _VERSION,
            "project": project,
            "location": endpoint.region or _GLOBAL,
            "api_key": None,
            **({"base_url": endpoint.base_url} if endpoint.base_url else {}),
        }
        return built(ChatGoogleGenerativeAI, {**settings, **endpoint.options})
