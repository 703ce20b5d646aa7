"""Values with the place in a document that supports each of them, and the check of these places."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model

if TYPE_CHECKING:
    from ...tools.documents.reading import Page

__all__ = ["Citation", "Cited", "cited_class", "resolved"]

Model = TypeVar("Model", bound=BaseModel)

# A box around half of a page does not show where to look.
_LARGEST: Final = 0.5
# Half of the last digit of an amount.
_NEAR: Final = 0.005
_PLAIN: Final = re.compile(r"\d+(?:[.,]\d+)?")
_GROUPED: Final = re.compile(r"\d{1,3}(?:[.,' \u00a0\u202f]\d{3})+(?:[.,]\d{1,2})?(?!\d)")


class Citation(BaseModel):
    """Where a value stands."""

    model_config = ConfigDict(extra="forbid")

    field: str = Field(description="the field, such as total or lines.0.amount")
    page: int = Field(description="the page, by its number", ge=1)
    text: str = Field(
        description="the words on the page that carry the value, exactly as they stand there", min_length=1
    )
    line: int | None = Field(default=None, description="the number of the line, where the page has numbered lines")
    box: list[float] | None = Field(
        default=None,
        description="where the page is a picture: left, top, right, bottom of the words, as shares of the page",
    )
    file: str = Field(default="", description="leave empty")


class Cited(BaseModel, Generic[Model]):
    """Values, and where each of them stands.

    Attributes:
        values: What was read.
        citations: One or more for each value that is there; each has a page and a box.
    """

    values: Model
    citations: list[Citation] = Field(description="one for each field that is filled in")

    def of(self, field: str) -> Citation:
        """Return the citation of a field.

        Args:
            field: The field, such as ``total`` or ``lines.0.amount``.

        Raises:
            KeyError: It is not filled in.
        """
        found = next((citation for citation in self.citations if citation.field == field), None)
        if found is None:
            raise KeyError(field)
        return found


def cited_class(output: type[Model]) -> type[Cited[Model]]:
    """Return the class of an output with citations.

    Args:
        output: The class of the values.
    """
    return create_model(f"Cited{output.__name__}", __base__=Cited[output])  # type: ignore[valid-type]


def resolved(cited: Cited[Any], pages: Sequence[Page]) -> tuple[str | None, Cited[Any]]:
    """Check citations against the pages, and set the box of each.

    If a page has text, the cited words must be in the cited line, and the box is that line's box. For a picture only
    the model knows what is where: its box must be valid, and a number must be in the cited words.

    Args:
        cited: What a model returned.
        pages: The pages, in the order of their numbers.

    Returns:
        What is wrong, or None; and the input with boxes and file names.
    """
    leaves = dict(_leaves(cited.values.model_dump(mode="json"), ""))
    wrong: list[str] = []
    found: list[Citation] = []
    for citation in cited.citations:
        problem, placed = _placed(citation, leaves, pages)
        found.append(placed)
        if problem:
            wrong.append(f"the citation of {citation.field!r} {problem}")
    # A default value is not in any document.
    needed = dict(_leaves(cited.values.model_dump(mode="json", exclude_defaults=True), ""))
    missing = sorted(set(needed) - {citation.field for citation in cited.citations})
    if missing:
        wrong.append(f"not cited: {', '.join(missing)}")
    return "; ".join(wrong) or None, cited.model_copy(update={"citations": found})


def _placed(citation: Citation, leaves: Mapping[str, Any], pages: Sequence[Page]) -> tuple[str, Citation]:
    if citation.field not in leaves:
        return "is of no field that is filled in", citation
    if citation.page > len(pages):
        return f"names page {citation.page} of {len(pages)}", citation
    page = pages[citation.page - 1]
    placed = citation.model_copy(update={"file": page.file})
    value = leaves[citation.field]
    if _is_number(value) and not _says(citation.text, value):
        return f"has the words {citation.text!r}, which are not {value}", placed
    if citation.line is not None and page.lines:
        if not 1 <= citation.line <= len(page.lines):
            return f"names line {citation.line} of {len(page.lines)}", placed
        line = page.lines[citation.line - 1]
        if _folded(citation.text) not in _folded(line.text):
            return f"has words that do not stand in line {citation.line}", placed
        return "", placed.model_copy(update={"box": list(line.box)})
    if page.image is None:
        return f"names no line of page {citation.page}, which has {len(page.lines)}", placed
    return _bad_box(citation.box), placed


def _bad_box(box: Sequence[float] | None) -> str:
    if box is None or len(box) != 4:
        return "has no box, which is left, top, right and bottom"
    left, top, right, bottom = box
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        return f"has a box that is none: {box}"
    return "has a box around half of the page" if (right - left) * (bottom - top) > _LARGEST else ""


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the single values in a structure with their paths, except empty ones."""
    if isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, item in items:
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif value is not None and value != "":
        yield path, value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _says(text: str, value: float) -> bool:
    """Return whether a text contains a number, in any notation; its sign may be a word or a bracket."""
    wanted = {abs(value), *({abs(value) * 100} if "%" in text else ())}
    return any(abs(number - one) < _NEAR for number in _numbers(text) for one in wanted)


def _numbers(text: str) -> Iterator[float]:
    """Yield the numbers in a text; a point or comma before three digits may group or begin decimals: both count."""
    for written in _PLAIN.findall(text):
        yield float(written.replace(",", "."))
    for written in _GROUPED.findall(text):
        decimals = re.search(r"[.,](\d{1,2})$", written)
        whole = re.sub(r"\D", "", written[: decimals.start()] if decimals else written)
        yield float(f"{whole}.{decimals[1] if decimals else 0}")


def _folded(text: str) -> str:
    # A model reads the lines with their markup escaped, and may cite them so.
    return " ".join(unescape(text).split()).casefold()
