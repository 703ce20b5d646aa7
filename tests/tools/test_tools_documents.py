"""Documents: read into pages, or refused in words before they cost anybody anything."""

from __future__ import annotations

import base64
import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw
from pointsman.configs.errors import ConfigError
from pointsman.tools import ToolFailed, Workspace
from pointsman.tools.documents import reading
from pointsman.tools.documents.reading import read_document, read_text
from pointsman.tools.documents.tool import document_tools

TEXT = b"BT /F1 12 Tf 72 770 Td (Invoice 17) Tj 0 -20 Td (Paper, white) Tj 300 0 Td (4.00) Tj ET"
SEALED = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%b> /U <%b> >> /ID [<00><00>] " % (b"41" * 32, b"42" * 32)


def _pdf(*contents: bytes, trailer: bytes = b"", stream: bytes = b"", size: tuple[int, int] = (595, 842)) -> bytes:
    """A PDF of a page for each content (PDF 32000-1, section 7.5)."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * place) for place in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, len(contents)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for place, content in enumerate(contents):
        font = b"/Resources << /Font << /F1 3 0 R >> >>"
        box = b"/MediaBox [0 0 %d %d]" % size
        objects.append(b"<< /Type /Page /Parent 2 0 R %b %b /Contents %d 0 R >>" % (box, font, 5 + 2 * place))
        objects.append(b"<< /Length %d %b>>\nstream\n%b\nendstream" % (len(content), stream, content))
    return _written(objects, trailer)


def _written(objects: list[bytes], trailer: bytes = b"") -> bytes:
    """A file of these objects, with its table of where they stand."""
    file, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer << /Size %d /Root 1 0 R %b>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, len(file))
    return file + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + end


def _filled(kind: bytes) -> bytes:
    """A page with a form field, a note or a link on it that has words of its own (PDF 32000-1, section 12.5)."""
    words = b"BT /F1 12 Tf 2 4 Td (4.00) Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [6 0 R] >> >>",
        b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >>"
        b" /Contents 5 0 R /Annots [6 0 R] >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(TEXT), TEXT),
        b"<< /Type /Annot /Subtype %b /Rect [72 600 200 620] /F 4 /AP << /N 7 0 R >> /P 4 0 R >>" % kind,
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 128 20] /Resources << /Font << /F1 3 0 R >> >>"
        b" /Length %d >>\nstream\n%b\nendstream" % (len(words), words),
    ]
    return _written(objects)


def _bomb() -> bytes:
    """A page whose content is 3 GB long unpacked, in 3 MB."""
    packing = zlib.compressobj(9)
    begin = packing.compress(b"q Q " * 250_000) + packing.flush(zlib.Z_FULL_FLUSH)
    # What follows a full flush needs nothing before it, so the same megabyte is packed once and follows itself.
    again = packing.compress(b"q Q " * 250_000) + packing.flush(zlib.Z_FULL_FLUSH)
    return _pdf(begin + again * 2_999 + packing.flush(), stream=b"/Filter /FlateDecode ")


def _picture(form: str, size: tuple[int, int] = (400, 300)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "white").save(file, form)
    return file.getvalue()


def test_the_text_of_a_pdf_is_read_line_by_line_with_boxes() -> None:
    [page] = read_document("a.pdf", _pdf(TEXT))
    assert [line.text for line in page.lines] == ["Invoice 17", "Paper, white", "4.00"]
    left, top, right, bottom = page.lines[0].box
    # The words begin 72 points from the left, and 842 - 770 from the top.
    assert (left, bottom) == pytest.approx((72 / 595, 72 / 842), abs=0.003)
    assert (0 < right - left < 0.2, 0 < bottom - top < 0.02) == (True, True)
    assert (page.file, page.number) == ("a.pdf", 1)


@pytest.mark.parametrize("junk", [b"HTTP/1.1 200 OK\r\n\r\n", b"\xef\xbb\xbf", b"\0\xff" * 512], ids=len)
def test_a_pdf_may_begin_behind_up_to_a_kilobyte_of_something_else(junk: bytes) -> None:
    [page] = read_document("a.pdf", junk + _pdf(TEXT))
    assert [line.text for line in page.lines] == ["Invoice 17", "Paper, white", "4.00"]


def test_a_picture_that_holds_a_pdf_is_a_picture() -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "white").save(file, "JPEG", comment=_pdf(TEXT))
    [page] = read_document("a.jpg", file.getvalue())
    assert page.lines == ()


@pytest.mark.parametrize(
    ("name", "data", "form"),
    [
        ("a.png", _picture("PNG"), "PNG"),
        ("a.jpg", _picture("JPEG"), "JPEG"),
        ("a.gif", _picture("GIF"), "PNG"),
        ("a.webp", _picture("WEBP"), "PNG"),
        ("a.pdf", _picture("PDF"), "PNG"),
        ("large.png", _picture("PNG", (4000, 3000)), "PNG"),
    ],
)
def test_a_picture_and_a_scan_are_a_page_without_text(name: str, data: bytes, form: str) -> None:
    import base64

    [page] = read_document(name, data)
    assert (page.lines, page.mime_type) == ((), f"image/{form.lower()}")
    with Image.open(io.BytesIO(base64.b64decode(page.image or ""))) as shown:
        assert shown.format == form
        assert max(shown.size) <= 1_600


@pytest.mark.parametrize(
    ("begin", "end", "is_seen"),
    [
        (b"0 g", b"", True),
        (b".8 g", b"", True),
        (b"3 Tr", b"", False),
        (b"1 g", b"", False),
        (b".98 g", b"", False),
        (b"0 g", b"1 g 60 590 300 40 re f", False),
        (b"3 Tr", b"0 g 60 590 300 15 re f", True),
    ],
    ids=["black", "grey", "invisible", "white", "nearly white", "covered", "over a scan"],
)
def test_of_a_text_that_a_page_does_not_show_nothing_is_read(begin: bytes, end: bytes, is_seen: bool) -> None:
    words = b" BT %b /F1 12 Tf 72 600 Td (Total 9999.00) Tj ET %b" % (begin, end)
    [page] = read_document("a.pdf", _pdf(TEXT + words))
    assert [line.text for line in page.lines] == ["Invoice 17", "Paper, white", "4.00", *["Total 9999.00"] * is_seen]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [b"/Widget /FT /Tx /T (total) /V (4.00)", b"/FreeText /Contents (4.00)"])
def test_what_is_filled_into_a_form_or_noted_on_a_page_is_shown(kind: bytes) -> None:
    import base64

    [page] = read_document("a.pdf", _filled(kind))
    assert [line.text for line in page.lines] == ["Invoice 17", "Paper, white", "4.00"]
    with Image.open(io.BytesIO(base64.b64decode(page.image or ""))) as shown:
        down = shown.height / 842
        field = shown.convert("L").crop((0, int(215 * down), shown.width, int(250 * down)))
        assert field.getextrema()[0] < 128
    [linked] = read_document("a.pdf", _filled(b"/Link"))
    assert linked.image is None


@pytest.mark.parametrize(
    ("name", "make", "told"),
    [
        ("lie.png", lambda: _picture("JPEG"), "says that it is image/png, and holds image/jpeg"),
        ("lie.jpg", lambda: _pdf(TEXT), "says that it is image/jpeg, and holds application/pdf"),
        ("program.png", lambda: b"MZ" + bytes(500), "is not a PNG, JPEG, GIF or WebP"),
        ("cut.png", lambda: _picture("PNG")[:200], "is damaged: its picture cannot be unpacked"),
        (
            "huge.png",
            lambda: _picture("PNG")[:16] + b"\0\1\0\0\0\1\0\0" + _picture("PNG")[24:],
            "the limit is 20,000,000",
        ),
        ("sealed.pdf", lambda: _pdf(TEXT, trailer=SEALED), "is encrypted"),
        ("bomb.pdf", _bomb, "needs more memory or time"),
        ("large.pdf", lambda: _pdf(TEXT, size=(10**6, 10**6)), "page 1 is 1,000,000 x 1,000,000 points large"),
        ("long.pdf", lambda: _pdf(*[TEXT] * 51), "has 51 pages, and 50 can be read"),
        ("web.pdf", lambda: b"<html></html>", "says that it is application/pdf, and does not begin as one"),
        ("picture.pdf", lambda: _picture("PNG"), "says that it is application/pdf, and holds image/png"),
        ("short.pdf", lambda: _pdf(TEXT).replace(b"/Count 1", b"/Count 3"), "page 2 is damaged"),
        ("late.pdf", lambda: bytes(1_025) + _pdf(TEXT), "does not begin as one within 1,024 bytes"),
        ("junk.pdf", lambda: b"%PDF-1.4 and nothing else", "is damaged, or no PDF at all"),
        ("heavy.pdf", lambda: b"%PDF-1.4" + bytes(20_000_000), "is larger than 20,000,000 bytes"),
    ],
)
def test_what_is_not_what_it_says_or_grows_without_bounds_is_refused(
    name: str, make: Callable[[], bytes], told: str
) -> None:
    with pytest.raises(ToolFailed, match=told):
        read_document(name, make())


def test_a_type_that_is_told_beside_the_name_must_be_the_files_own() -> None:
    with pytest.raises(ToolFailed, match="says that it is image/gif, and holds image/png"):
        read_document("attachment", _picture("PNG"), said="image/gif")


@pytest.mark.parametrize("said", ["IMAGE/PNG", "image/png; charset=binary", "image/x-png", None])
def test_a_type_may_be_told_in_capitals_and_with_parameters(said: str | None) -> None:
    assert len(read_document("a.png", _picture("PNG"), said=said)) == 1


@pytest.mark.parametrize(
    ("mode", "ground", "ink", "form"),
    [
        ("RGBA", (0, 0, 0, 0), (0, 0, 0, 255), "PNG"),
        ("RGBA", (0, 0, 0, 0), (0, 0, 0, 255), "WEBP"),
        ("LA", (0, 0), (0, 255), "PNG"),
        ("I;16", 60_000, 4_000, "PNG"),
    ],
)
def test_what_stands_on_a_picture_is_seen_where_its_ground_is_transparent_or_it_has_16_bits(
    mode: str, ground: Any, ink: Any, form: str
) -> None:
    drawn, file = Image.new(mode, (40, 30), ground), io.BytesIO()
    ImageDraw.Draw(drawn).rectangle((10, 10, 19, 19), fill=ink)
    drawn.save(file, form, lossless=True)
    [page] = read_document(f"a.{form.lower()}", file.getvalue())
    shown = Image.open(io.BytesIO(base64.b64decode(page.image or ""))).convert("L")
    assert shown.point(lambda grey: 255 if grey < 128 else 0).getbbox() == (10, 10, 20, 20)


def test_without_the_extra_it_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'pointsman\[documents\]'"):
        read_document("a.pdf", _pdf(TEXT))


@pytest.mark.slow
def test_the_agents_tool_gives_text_and_pictures_five_pages_at_once(tmp_path: Path) -> None:
    (tmp_path / "long.pdf").write_bytes(_pdf(*[TEXT] * 7))
    (tmp_path / "scan.pdf").write_bytes(_picture("PDF"))
    [tool] = document_tools(Workspace(tmp_path))
    said: list[Any] = tool.invoke({"path": "long.pdf"})
    assert said[0]["text"] == "Pages 1 to 5 of 7. Go on with first=6."
    assert [block["text"].splitlines()[1] for block in said[1:]] == ["1: Invoice 17"] * 5
    assert len(tool.invoke({"path": "long.pdf", "first": 6})) == 3
    assert [block["type"] for block in tool.invoke({"path": "scan.pdf"})] == ["text", "text", "image"]
    assert "there is no page 8" in str(tool.invoke({"path": "long.pdf", "first": 8}))


def test_nothing_of_the_libraries_is_loaded_into_this_process() -> None:
    read_document("a.pdf", _pdf(TEXT))
    assert "pypdfium2" not in sys.modules


def test_the_text_of_each_page_is_read_in_rows_and_a_parted_word_is_put_together() -> None:
    parted = b"BT /F1 12 Tf 72 770 Td (Cards are lost by care-) Tj 0 -20 Td (lessness in e-) Tj 0 -20 Td (Mail) Tj ET"
    assert read_text("a.pdf", _pdf(TEXT, b"", parted)) == (
        "Invoice 17\nPaper, white 4.00",
        "",
        "Cards are lost by carelessness in e-\nMail",
    )


def test_a_long_document_is_read_as_text_and_not_as_pictures() -> None:
    pages = read_text("a.pdf", _pdf(*[TEXT] * 300))
    assert (len(pages), pages[299]) == (300, "Invoice 17\nPaper, white 4.00")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"no PDF", "does not begin as one"),
        (_pdf(TEXT, trailer=SEALED), "encrypted"),
        (_pdf(TEXT)[:200], "damaged, or no PDF at all|damaged"),
        (_bomb(), "more memory or time"),
        (_pdf(*[b""] * 2_001), "2000 can be read"),
        (b"%PDF-" + b" " * 20_000_000, "larger than 20,000,000 bytes"),
    ],
)
def test_text_of_what_is_no_good_document_is_refused(data: bytes, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_TEXT_SECONDS", 30.0)
    with pytest.raises(ToolFailed, match=told):
        read_text("a.pdf", data)
