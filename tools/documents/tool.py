"""Reading a document of a workspace for a model: its text line by line, its other pages as pictures."""

from __future__ import annotations

from typing import Annotated, Any, Final

from langchain_core.tools import BaseTool
from pydantic import Field

from ..base import ToolFailed
from ..decorator import tool
from ..files.workspace import Workspace, shown
from .reading import MOST_BYTES, Page, read_document

__all__ = ["document_tools"]

_AT_ONCE: Final = 5
"""Pages of one call: models read more pictures badly, and some vendors accept no more."""


def document_tools(workspace: Workspace) -> list[BaseTool]:
    """Return ``read_document``, bound to a workspace: the pages of a PDF, or of a picture."""

    def read_document_pages(
        path: Annotated[str, Field(description="Path relative to the workspace.")],
        first: Annotated[int, Field(description="The first page to read.", ge=1)] = 1,
    ) -> list[dict[str, Any]]:
        """Read up to five pages of a PDF or a picture: numbered lines of text, and a picture of a page without."""
        with workspace.reading(path) as file:
            data = file.read(MOST_BYTES + 1)
        pages = read_document(shown(path), data)
        if first > len(pages):
            raise ToolFailed(f"{shown(path)} has {len(pages)} pages, so there is no page {first}")
        chosen = pages[first - 1 : first - 1 + _AT_ONCE]
        last = chosen[-1].number
        told = f"Pages {first} to {last} of {len(pages)}." + (
            f" Go on with first={last + 1}." if last < len(pages) else ""
        )
        return [{"type": "text", "text": told}, *(block for page in chosen for block in _blocks(page))]

    return [tool(read_document_pages, effect="read", name="read_document", target="path")]


def _blocks(page: Page) -> list[dict[str, Any]]:
    lines = "\n".join(f"{number}: {line.text}" for number, line in enumerate(page.lines, 1))
    said = [{"type": "text", "text": f"Page {page.number}:\n{lines or 'the picture that follows'}"}]
    if page.image is None:
        return said
    return [*said, {"type": "image", "base64": page.image, "mime_type": page.mime_type}]
