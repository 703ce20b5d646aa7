"""Does command risk tell harm from work? Recall, false alarms, how often it asks, and commands per second.

    python benchmarks/command_risk.py [TABLE] [--rates 3] [--missed]

Without TABLE only the project's own evasions and look-alikes (command_evasions.yaml) are judged. TABLE is a CSV,
gzipped or not, with the columns command, label (1 risky, 0 benign, -1 neither), category, source and lang; only rows
with lang `bash` count. Its rows are split in two halves by a hash of the command, the first for tuning and the second
for testing. A person is asked about commands with risk high, critical or unknown.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml
from pointsman.tools.risk.reader import read_command
from stage import existing, parser, table

OWN = Path(__file__).with_name("command_evasions.yaml")
Row = dict[str, str]


def rows_of(file: Path) -> list[Row]:
    """Return the rows that are shell commands."""
    data = file.read_bytes()
    text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode("utf-8")
    return [row for row in csv.DictReader(io.StringIO(text, newline="")) if row["lang"] == "bash"]


def in_first_half(row: Row) -> bool:
    """Return whether a row belongs to the half used for tuning."""
    return hashlib.sha256(row["command"].encode()).digest()[0] % 2 == 0


def asked(commands: Iterable[str]) -> tuple[int, int]:
    """Return how many of the commands a person would be asked about, and how many there are."""
    answers = [read_command(command).asks for command in commands]
    return sum(answers), len(answers)


def share(pair: tuple[int, int]) -> str:
    count, of = pair
    return f"{100 * count / of:.1f} % ({count} of {of})" if of else "-"


def labelled(rows: Sequence[Row]) -> tuple[str, str, str]:
    """Return recall, false alarms, and how many of the unlabelled commands are asked about."""
    parts = (asked(row["command"] for row in rows if row["label"] == label) for label in ("1", "0", "-1"))
    recall, alarms, ordinary = map(share, parts)
    return recall, alarms, ordinary


def by_category(rows: Sequence[Row]) -> list[tuple[str, str]]:
    kinds = sorted({row["category"] for row in rows if row["label"] == "1"})
    return [
        (kind, share(asked(r["command"] for r in rows if r["category"] == kind and r["label"] == "1")))
        for kind in kinds
    ]


def own(kinds: Mapping[str, Mapping[str, list[str]]]) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return the figures for each kind of the project's own commands, and the wrongly judged commands."""
    told = [(kind, share(asked(sets["risky"])), share(asked(sets["benign"]))) for kind, sets in kinds.items()]
    risky = [command for sets in kinds.values() for command in sets["risky"]]
    benign = [command for sets in kinds.values() for command in sets["benign"]]
    wrong = [one for one in risky if not read_command(one).asks] + [one for one in benign if read_command(one).asks]
    return [*told, ("all", share(asked(risky)), share(asked(benign)))], wrong


def rate(commands: Sequence[str]) -> float:
    """Return the commands per second through the command line, including start-up."""
    lines = "".join(json.dumps({"id": n, "command": command}) + "\n" for n, command in enumerate(commands))
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "risk", "command", "--json"],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("\n") == len(commands)
    return len(commands) / (time.perf_counter() - began)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("table", nargs="?", type=existing, help="labelled commands of others")
    arguments.add_argument("--rates", type=int, default=3, help="how often the rate is measured (default 3)")
    arguments.add_argument("--missed", action="store_true", help="show what is judged wrongly of the first half")
    given = arguments.parse_args()
    kinds = yaml.safe_load(OWN.read_text(encoding="utf-8"))
    told, wrong = own(kinds)
    print(table(("own", "risky, asked", "benign, asked"), told))
    print(*(f"  wrongly judged: {one!r}" for one in wrong), sep="\n")
    commands = [one for sets in kinds.values() for group in sets.values() for one in group]
    if given.table:
        rows = rows_of(given.table)
        first, second = ([row for row in rows if in_first_half(row) is half] for half in (True, False))
        parts = (("first half", first), ("second half", second), ("all", rows))
        head = ("table", "recall", "false alarms", "unlabelled, asked")
        print(table(head, [(name, *labelled(part)) for name, part in parts]))
        print(table(("category", "recall"), by_category(rows)))
        if given.missed:
            for row in first:
                if row["label"] != "-1" and read_command(row["command"]).asks != (row["label"] == "1"):
                    print(row["label"], row["category"], repr(row["command"][:200]))
        commands = [row["command"] for row in rows]
    rates = [rate(commands) for _ in range(given.rates)]
    if rates:
        each = f"{statistics.median_high(rates):,.0f} commands a second"
        print(f"{each} through pointsman risk command --json ({len(commands)} lines)")


if __name__ == "__main__":
    main()
