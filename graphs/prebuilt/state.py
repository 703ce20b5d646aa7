"""The common state of the prebuilt workflows."""

from __future__ import annotations

import operator
from typing import Annotated, Any

from typing_extensions import TypedDict

__all__ = ["WorkState"]


class WorkState(TypedDict, total=False):
    """State of a workflow on its way from a task to an output; plain JSON throughout."""

    task: str
    done: Annotated[list[dict[str, Any]], operator.add]
    notes: Annotated[list[str], operator.add]
    output: Any
