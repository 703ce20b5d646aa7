"""Thirty made-up invoices: pictures (PNG, JPEG), PDFs with text, and scans in PDFs. The same seed makes the same ones.

python examples/invoices/papers.py FOLDER
"""

from __future__ import annotations

import io
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

KINDS = ("png", "jpeg", "text.pdf", "scan.pdf")
_WIDTH, _HEIGHT = 595, 842
_NAMES = ("Paper", "Ink", "Staples", "Folders", "Stamps", "Envelopes", "Pencils", "Tape", "Labels", "Glue")

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Paper:
    """One invoice.

    Attributes:
        name: Name of its file.
        data: The file.
        says: What it says.
        places: Field -> the words that carry it, and their box as shares of the page.
    """

    name: str
    data: bytes
    says: dict[str, Any]
    places: dict[str, tuple[str, Box]]


def papers(count: int = 30, seed: int = 7) -> list[Paper]:
    """Make invoices, the kinds in turn."""
    dice = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
    return [_paper(number, KINDS[number % len(KINDS)], dice) for number in range(1, count + 1)]


def _paper(number: int, kind: str, dice: random.Random) -> Paper:
    names = dice.sample(_NAMES, dice.randint(1, 5))
    positions = [{"name": name, "amount": round(dice.uniform(1, 400), 2)} for name in names]
    total = round(sum(position["amount"] for position in positions), 2)
    says = {
        "number": f"R-{dice.randint(1000, 9999)}",
        "date": f"{dice.randint(1, 28):02}.{dice.randint(1, 12):02}.2026",
        "positions": positions,
        "total": total,
    }
    words = [("number", says["number"], 200, 80), ("date", says["date"], 200, 110), ("total", f"{total:.2f}", 400, 640)]
    for place, position in enumerate(positions):
        words.append((f"positions.{place}.name", position["name"], 60, 200 + 30 * place))
        words.append((f"positions.{place}.amount", f"{position['amount']:.2f}", 400, 200 + 30 * place))
    said = [("", "Invoice", 60, 80), ("", "Date", 60, 110), ("", "To pay", 60, 640), *words]
    name = f"invoice-{number:02}.{kind.rpartition('.')[2]}"
    if kind == "text.pdf":
        return Paper(name, _text_pdf(said), says, {field: (text, (0, 0, 0, 0)) for field, text, _, _ in words})
    picture, boxes = _drawn(said, crooked=dice.uniform(0, 3))
    file = io.BytesIO()
    picture.save(file, "PDF" if kind == "scan.pdf" else kind.upper())
    return Paper(name, file.getvalue(), says, {field: (text, boxes[field]) for field, text, _, _ in words})


def _drawn(said: list[tuple[str, str, int, int]], crooked: float) -> tuple[Image.Image, dict[str, Box]]:
    picture = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw, font, boxes = ImageDraw.Draw(picture), ImageFont.load_default(18), {}
    for field, text, x, y in said:
        draw.text((x + crooked, y), text, font=font, fill="black")
        left, top, right, bottom = draw.textbbox((x + crooked, y), text, font=font)
        boxes[field] = (left / _WIDTH, top / _HEIGHT, right / _WIDTH, bottom / _HEIGHT)
    return picture, boxes


def _text_pdf(said: list[tuple[str, str, int, int]]) -> bytes:
    """A PDF of one page in Helvetica, written by hand (PDF 32000-1, section 7.5)."""
    shown = "".join(f"1 0 0 1 {x} {_HEIGHT - y} Tm ({text}) Tj\n" for _, text, x, y in said)
    content = f"BT /F1 14 Tf\n{shown}ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Resources << /Font << /F1 3 0 R >> >> /Contents 5 0 R >>"
        % (_WIDTH, _HEIGHT),
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
    ]
    file, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(file))
    return file + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + end


def main() -> None:
    """Write them into a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for paper in papers():
        (folder / paper.name).write_bytes(paper.data)
    print(f"{len(papers())} invoices are in {folder}")


if __name__ == "__main__":
    main()
