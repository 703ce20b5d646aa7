"""LangChain's model profiles, read from the partner packages' data files without importing the packages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import MappingProxyType
from typing import Any

__all__ = ["profile"]

# A date, a three-digit version number or "latest" after the name means another release of the same model.
_DATED = re.compile(r"[-@](?:\d{4}-\d{2}-\d{2}|\d{8}|\d{3}|latest|default)$")


def profile(package: str, model: str) -> Mapping[str, Any]:
    """Look up a model's profile.

    Args:
        package: The partner package that ships the profiles, such as ``langchain_openai``.
        model: The vendor's name for the model; a dated name falls back to the undated one.

    Returns:
        The profile, empty if the package or the model is unknown.
    """
    known = _profiles(package)
    name = model.removeprefix("models/")
    found = known.get(name) or known.get(_DATED.sub("", name)) or {}
    return MappingProxyType(dict(found))


@cache
def _profiles(package: str) -> Mapping[str, Mapping[str, Any]]:
    # The package itself takes over a second to import; its data file can be loaded alone.
    home = find_spec(package)
    folders = () if home is None else home.submodule_search_locations or ()
    for folder in folders:
        file = Path(folder) / "data" / "_profiles.py"
        spec = spec_from_file_location(f"_pointsman_profiles_{package}", file) if file.is_file() else None
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            profiles: Mapping[str, Mapping[str, Any]] = getattr(module, "_PROFILES", {})
            return profiles
    return {}
