"""Passages of the Python Enhancement Proposals and of pip's manual with 183 questions, for ``pointsman memory eval``.

    python benchmarks/documents.py PEPS PIP > documents.jsonl

``PEPS`` and ``PIP`` are git repositories of python/peps (public domain or CC0) and pypa/pip (MIT), bare or not. The
passages are split as ``pointsman memory add`` splits a folder. For each question, ``document_questions.csv`` names the
passage that answers it and the kind of question: in the words of the passage (plain), as a colleague would ask it
(reworded), or avoiding the words of the passage, though it may share some of them (avoiding).
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from pointsman.memory import load_folder
from stage import existing, parser

PEPS_AT = "ba4deeb7969588d937da609008d05bb83a47b1ab"
PIP_AT = "6d309205789d368b2749d93fd6193d584811efd5"
PEPS = (
    *(207, 293, 296, 335, 380, 419, 475, 480, 481, 491, 526, 532, 555, 570, 583, 606, 610, 638, 650, 673, 677, 690),
    *(712, 734, 743, 765, 768, 794, 803, 2026, 3103, 3147),
)
_MANUAL = "docs/html/"
_NOT_THE_MANUAL = re.compile(r"news|changelog|copyright|ux-research|architecture")
_APPENDIX = re.compile(
    r"(references|copyright|footnotes|acknowledge?ments?|change ?log|post-history|resources|links)\W*$", re.IGNORECASE
)
_LINE = re.compile(r"([=\-~^\"#*`'+.])\1{2,}")
_MARKUP = re.compile(r"\.\. (_[^:]+:.*|index::.*|contents::.*|\[\d+\]|currentmodule.*|highlight.*|toctree.*)")


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", repository, *arguments], capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{repository}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout.decode("utf-8", "replace")


def markdown(lines: list[str], title: str) -> str:
    """Convert reStructuredText to text with Markdown headings, without pure references."""
    kept: list[str] = []
    at = 0
    while at < len(lines):
        line, after = lines[at], lines[at + 1] if at + 1 < len(lines) else ""
        over = bool(_LINE.fullmatch(line.strip()) and after.strip() and at + 2 < len(lines))
        if over and lines[at + 2].strip() == line.strip():
            heading, at = after.strip(), at + 3
        elif (
            line.strip()
            and line[0] != " "
            and len(line) < 100
            and _LINE.fullmatch(after.strip())
            and len(after.strip()) >= len(line.strip()) - 1
        ):
            heading, at = line.strip(), at + 2
        else:
            at += 1
            if not _MARKUP.match(line):
                kept.append(line)
            continue
        if title:
            kept += ["", f"## {heading}", ""]
        title = title or heading
    sections = re.split(r"(?m)^(?=## )", "\n".join(kept))
    told = [text for text in sections if not _APPENDIX.match(text.split("\n")[0].removeprefix("## ").strip())]
    return f"# {title or 'Untitled'}\n" + "".join(told)


def proposal(text: str) -> str:
    lines = text.split("\n")
    end = lines.index("")
    title = next(line[6:].strip() for line in lines[:end] if line.startswith("Title:"))
    return markdown(lines[end:], title)


def main() -> None:
    arguments = parser(__doc__)
    for name in ("peps", "pip"):
        arguments.add_argument(name, type=existing, help=f"the git repository of {name}")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for number in PEPS:
            text = proposal(git(given.peps, "show", f"{PEPS_AT}:peps/pep-{number:04}.rst"))
            (folder / f"pep-{number:04}.md").write_text(text)
        for name in git(given.pip, "ls-tree", "-r", PIP_AT, "--name-only").split("\n"):
            if name.startswith(_MANUAL) and name.endswith((".rst", ".md")) and not _NOT_THE_MANUAL.search(name):
                text = git(given.pip, "show", f"{PIP_AT}:{name}")
                text = re.sub(r"(?m)^#{3,} ", "## ", text) if name[-1] == "d" else markdown(text.split("\n"), "")
                if len(text) > 1500:
                    short = name.removeprefix(_MANUAL).replace("/", "-").rsplit(".", 1)[0]
                    (folder / f"pip-{short}.md").write_text(text)
        for place, chunk in enumerate(load_folder(folder)):
            item = {"key": f"f{place:04}", "text": chunk.text, "source": chunk.source, "title": chunk.title}
            print(json.dumps(item))
    with (Path(__file__).parent / "document_questions.csv").open(newline="") as questions:
        for row in csv.DictReader(questions):
            print(json.dumps({"question": row["question"], "answers": [row["key"]], "category": row["kind"]}))


if __name__ == "__main__":
    main()
