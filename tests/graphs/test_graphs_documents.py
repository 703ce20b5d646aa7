"""Document extraction: every field with its page and box, whatever mistakes the models make at first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pointsman import ConfigError, document_extraction
from pointsman.agents.runtime import Runtime
from pointsman.graphs.prebuilt.citations import Citation, cited_class, resolved
from pointsman.simulator import Answer, Rule, Scenario, Simulator, ToolCall
from pointsman.tools.documents.reading import Line, Page
from pydantic import BaseModel

Make = Callable[..., Runtime]
EXAMPLE = Path(__file__).parents[2] / "examples" / "invoices"


class Bill(BaseModel):
    """What a bill says."""

    total: float
    note: str = ""
    paid: bool = False


@pytest.fixture
def rehearsal(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The example that reads made-up invoices with scripted models."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    names = ("flow", "papers", "rehearse")
    import rehearse

    yield rehearse
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_every_mistake_is_found_and_every_field_ends_with_its_page_and_box(
    rehearsal: ModuleType, tmp_path: Path
) -> None:
    made = rehearsal.papers(len(rehearsal.MISTAKES))
    ended = rehearsal.rehearse(made, tmp_path)
    assert {Path(paper.name).suffix for paper, _ in ended} == {".png", ".jpeg", ".pdf"}
    for number, (paper, result) in enumerate(ended, 1):
        mistake = rehearsal.mistake_of(number)
        assert (result.status, result.output.values.model_dump()) == ("done", paper.says), mistake
        assert {citation.field for citation in result.output.citations} == set(paper.places)
        for citation in result.output.citations:
            left, top, right, bottom = citation.box
            assert 0 <= left < right <= 1, mistake
            assert 0 <= top < bottom <= 1, mistake
            assert (citation.page, citation.file, citation.text) == (1, paper.name, paper.places[citation.field][0])
        # What the provider spoils is asked again within an attempt, what a check finds is another attempt.
        spoilt = mistake in ("answer broken off", "overloaded", "refusal")
        assert (len(result.steps), len(result.calls)) == ((1, 2) if spoilt else (1, 1) if mistake == "none" else (2, 2))
        assert ("failed" in {step.status for step in result.steps}) == (len(result.steps) == 2)


@pytest.mark.slow
def test_what_stays_wrong_goes_to_a_person_with_the_reason(
    rehearsal: ModuleType, runtime: Make, simulator: Simulator
) -> None:
    said = {"values": {"total": 5}, "citations": [{"field": "total", "page": 1, "text": "4.00", "line": 1}]}
    simulator.scenario = Scenario(rules=[Rule(answer=Answer(tool_calls=(ToolCall("CitedBill", said),)))])
    [paper] = [paper for paper in rehearsal.papers(2) if paper.name.endswith(".pdf")]
    home = runtime()
    result = document_extraction("bills", Bill, attempts=2).run("Read it.", files=[_named(paper)], runtime=home)
    assert (result.status, result.output, len(simulator.log)) == ("handed_over", None, 2)
    [waiting] = home.ledger.handoffs(open_only=True)
    assert "has the words '4.00', which are not 5" in waiting.reason


def _named(paper: Any) -> dict[str, Any]:
    from pointsman import attach

    return attach(paper.data, name=paper.name)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([], "there is no document to read"),
        ([b"%PDF-1.4 and nothing else"], "damaged, or no PDF at all"),
        ([{"type": "image", "url": "https://example.com/a.png"}], "only an address of it"),
        ([{"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}], "its size cannot be read"),
    ],
)
def test_what_cannot_be_read_ends_the_run_before_a_model_is_asked(
    runtime: Make, simulator: Simulator, files: list[Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        document_extraction("bills", Bill).run("Read it.", files=files, runtime=runtime())
    assert len(simulator.log) == 0


def test_no_attempt_is_no_workflow() -> None:
    with pytest.raises(ConfigError, match="attempts is 0"):
        document_extraction("bills", Bill, attempts=0)


TEXT = Page(
    "a.pdf", 1, (Line("Total 1.234,50 EUR", (0.1, 0.2, 0.4, 0.25)), Line("Thanks", (0.1, 0.9, 0.2, 0.95))), None, ""
)
SCAN = Page("b.png", 1, (), "aW1hZ2U=", "image/png")
BOX = [0.1, 0.2, 0.3, 0.25]


@pytest.mark.parametrize(
    ("citation", "told"),
    [
        ({"line": 1, "text": "1.234,50 EUR"}, None),
        ({"line": 1, "text": "total  1.234,50"}, None),
        ({"line": 2, "text": "1.234,50"}, "do not stand in line 2"),
        ({"line": 3, "text": "1.234,50"}, "names line 3 of 2"),
        ({"line": 1, "text": "Total"}, "which are not 1234.5"),
        ({"box": BOX, "text": "1.234,50"}, "names no line of page 1"),
        ({"page": 2, "box": BOX, "text": "1234.50"}, None),
        ({"page": 2, "box": BOX, "text": "1,234.50"}, None),
        ({"page": 2, "text": "1234.5"}, "has no box"),
        ({"page": 2, "box": [0.3, 0.2, 0.1, 0.3], "text": "1234.5"}, "a box that is none"),
        ({"page": 2, "box": [0.1, 0.2, 10, 20], "text": "1234.5"}, "a box that is none"),
        ({"page": 2, "box": [0, 0, 1, 0.9], "text": "1234.5"}, "around half of the page"),
        ({"page": 3, "box": BOX, "text": "1234.5"}, "names page 3 of 2"),
        ({"field": "vat", "line": 1, "text": "1.234,50"}, "is of no field that is filled in"),
    ],
)
def test_a_citation_must_name_where_its_value_stands(citation: dict[str, Any], told: str | None) -> None:
    cited = Citation.model_validate({"field": "total", "page": 1, **citation})
    said = cited_class(Bill)(values=Bill(total=1234.5), citations=[cited])
    wrong, placed = resolved(said, [TEXT, SCAN])
    if told is None:
        assert wrong is None
        assert placed.of("total").box == (list(TEXT.lines[0].box) if cited.page == 1 else BOX)
        assert placed.of("total").file == ("a.pdf" if cited.page == 1 else "b.png")
        with pytest.raises(KeyError):
            placed.of("note")
    else:
        assert told in str(wrong)


@pytest.mark.parametrize(
    ("value", "text", "is_said"),
    [
        (4.0, "10 x 4.00", True),
        (4.0, "10 4,00 EUR", True),
        (10400.0, "10 400", True),
        (1234.5, "1'234.50", True),
        (1.234, "1,234", True),
        (1234.0, "1,234", True),
        (-4.5, "(4.50)", True),
        (0.19, "19 % VAT", True),
        (0.19, "19 VAT", False),
        (4.0, "40.0", False),
        (4.0, "four", False),
    ],
)
def test_a_number_is_found_however_it_is_written(value: float, text: str, is_said: bool) -> None:
    said = cited_class(Bill)(values=Bill(total=value), citations=[Citation(field="total", page=1, text=text, box=BOX)])
    wrong, _ = resolved(said, [SCAN])
    assert (wrong is None) == is_said, wrong


def test_words_cited_as_they_are_escaped_stand_in_their_line_and_defaults_stand_nowhere() -> None:
    page = Page("a.pdf", 1, (Line("Smith & Co <4.00>", (0.1, 0.2, 0.4, 0.25)),), None, "")
    cited = [
        Citation(field="total", page=1, text="4.00&gt;", line=1),
        Citation(field="note", page=1, text="Smith &amp; Co", line=1),
    ]
    wrong, _ = resolved(cited_class(Bill)(values=Bill(total=4, note="Smith & Co"), citations=cited), [page])
    assert wrong is None
    wrong, _ = resolved(cited_class(Bill)(values=Bill(total=4, note="Smith & Co", paid=True), citations=cited), [page])
    assert wrong == "not cited: paid"
