"""A process that opens one document, so that whatever a file does to its parsers ends with this process.

Input: a line of JSON with ``mime_type``, ``pages`` (the most), ``side`` (pixels of a page's longer side), ``pictures``
(false for the text alone), ``memory`` (bytes of address space) and ``seconds``, then the file. Output: a line of JSON,
``{"refused": why}`` or ``{"pages": [...]}``; each page has ``lines`` (``text`` and ``box``) and ``image`` (base64 or
null) with its ``mime_type``. A box is left, top, right and bottom as fractions of the page.
"""

from __future__ import annotations

import base64
import io
import json
import math
import resource
import signal
import sys
from typing import Any

__all__ = ["main"]

# PDF 32000-1, annex C.2: a page has at most 14,400 units in either direction.
_MOST_POINTS = 14_400
# A page with less text than this is a scan with an addition: a page number, a stamp of the scanner.
_FEWEST_CHARACTERS = 20
_MOST_LINES = 2_000
_DOTS_A_POINT = 150 / 72
# Of 255 shades: below this, text is indistinguishable from its background.
_LEAST_CONTRAST = 16


class _Refused(Exception):
    """The document cannot be read; the text says why."""


def main() -> None:
    """Read one document and exit."""
    asked = json.loads(sys.stdin.buffer.readline())
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, asked["seconds"])
    data = sys.stdin.buffer.read()
    try:
        resource.setrlimit(resource.RLIMIT_AS, (asked["memory"], asked["memory"]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        read = _pdf if asked["mime_type"] == "application/pdf" else _picture
        answer: dict[str, Any] = {"pages": read(data, asked)}
    except _Refused as error:
        answer = {"refused": str(error)}
    except MemoryError:
        answer = {"refused": "it needs more memory than a document may"}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _pdf(data: bytes, asked: dict[str, Any]) -> list[dict[str, Any]]:
    import pypdfium2
    from pypdfium2 import raw

    try:
        document = pypdfium2.PdfDocument(data)
        # Without this, the values filled into its forms are not drawn.
        document.init_forms()
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == raw.FPDF_ERR_PASSWORD:
            raise _Refused("it is encrypted: give it without a password") from None
        raise _Refused("it is damaged, or no PDF at all") from None
    if len(document) > asked["pages"]:
        raise _Refused(f"it has {len(document):,} pages, and {asked['pages']} can be read")
    if not len(document):
        raise _Refused("it has no pages")
    return [_pdf_page(document, number, asked) for number in range(len(document))]


def _pdf_page(document: Any, number: int, asked: dict[str, Any]) -> dict[str, Any]:
    import pypdfium2

    try:
        # Available without loading the page, which would unpack it.
        width, height = document.get_page_size(number)
        if not (0 < width <= _MOST_POINTS and 0 < height <= _MOST_POINTS):
            raise _Refused(f"page {number + 1} is {width:,.0f} x {height:,.0f} points large")
        page = document[number]
        if not asked["pictures"]:
            lines = _lines(page)
            page.close()
            return {"lines": lines, "image": None, "mime_type": ""}
        most = asked["side"] / max(width, height)
        lines = [] if page.get_rotation() else _lines(page)
        pictures = any(True for _ in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE], max_depth=3))
        shown = _are_few(lines) or pictures or _is_written_on(page)
        # What only tells which text is visible may be small and grey.
        drawn = page.render(scale=min(_DOTS_A_POINT if shown else 1.0, most), grayscale=not shown).to_pil()
        lines = _visible(lines, drawn.convert("L"))
        if not shown and _are_few(lines):
            shown, drawn = True, page.render(scale=min(_DOTS_A_POINT, most)).to_pil()
    except pypdfium2.PdfiumError:
        raise _Refused(f"page {number + 1} is damaged") from None
    return {"lines": lines, "image": _packed(drawn, "PNG") if shown else None, "mime_type": "image/png"}


def _are_few(lines: list[dict[str, Any]]) -> bool:
    return sum(len(line["text"]) for line in lines) < _FEWEST_CHARACTERS


def _visible(lines: list[dict[str, Any]], drawn: Any) -> list[dict[str, Any]]:
    """Return the lines that are visible on the page, and drop those that are invisible, covered, or white on white."""
    return [line for line in lines if _contrast(drawn, line["box"]) >= _LEAST_CONTRAST]


def _contrast(drawn: Any, box: list[float]) -> int:
    wide, high = drawn.size
    left, top = min(int(box[0] * wide), wide - 1), min(int(box[1] * high), high - 1)
    darkest, lightest = drawn.crop((left, top, math.ceil(box[2] * wide), math.ceil(box[3] * high))).getextrema()
    return int(lightest - darkest)


def _is_written_on(page: Any) -> bool:
    """Whether it has form fields or annotations, whose words are not part of its text."""
    from pypdfium2 import raw

    silent = (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP)
    for number in range(raw.FPDFPage_GetAnnotCount(page)):
        note = raw.FPDFPage_GetAnnot(page, number)
        kind = raw.FPDFAnnot_GetSubtype(note)
        raw.FPDFPage_CloseAnnot(note)
        if kind not in silent:
            return True
    return False


def _lines(page: Any) -> list[dict[str, Any]]:
    left, bottom, right, top = page.get_bbox()
    wide, high = right - left, top - bottom
    text = page.get_textpage()
    count = text.count_rects()
    if count > _MOST_LINES:
        raise _Refused(f"a page has {count:,} lines, and {_MOST_LINES:,} can be read")
    found = []
    for index in range(count):
        x0, y0, x1, y1 = text.get_rect(index)
        said = " ".join(text.get_text_bounded(x0, y0, x1, y1).split())
        box = [(x0 - left) / wide, (top - y1) / high, (x1 - left) / wide, (top - y0) / high]
        # Text outside the page is not visible.
        if said and 0 <= (box[0] + box[2]) / 2 <= 1 and 0 <= (box[1] + box[3]) / 2 <= 1:
            found.append({"text": said, "box": [round(min(max(edge, 0.0), 1.0), 4) for edge in box]})
    return sorted(found, key=lambda line: (round(line["box"][1], 2), line["box"][0]))


def _picture(data: bytes, asked: dict[str, Any]) -> list[dict[str, Any]]:
    from PIL import Image, ImageOps

    try:
        # Its size was already checked, from its header.
        with Image.open(io.BytesIO(data), formats=[asked["mime_type"].partition("/")[2].upper()]) as opened:
            form = "JPEG" if opened.format == "JPEG" else "PNG"
            picture = _on_white(ImageOps.exif_transpose(opened))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise _Refused("it is damaged: its picture cannot be unpacked") from None
    picture.thumbnail((asked["side"], asked["side"]))
    return [{"lines": [], "image": _packed(picture, form), "mime_type": f"image/{form.lower()}"}]


def _on_white(picture: Any) -> Any:
    """Return a picture as a page shows it: transparency on white, and 16-bit greys reduced to 8 bits."""
    from PIL import Image

    if picture.mode.startswith("I;16"):
        # Pillow would clip every value above 255.
        picture = picture.point(lambda value: value * (1 / 256)).convert("L")
    if picture.has_transparency_data:
        page = Image.new("RGBA", picture.size, "white")
        page.alpha_composite(picture.convert("RGBA"))
        picture = page
    return picture.convert("RGB")


def _packed(picture: Any, form: str) -> str:
    file = io.BytesIO()
    picture.save(file, form)
    return base64.b64encode(file.getvalue()).decode("ascii")


if __name__ == "__main__":
    main()
