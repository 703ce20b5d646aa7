"""Draw docs/pictures/session.svg: what a session with the coding agent shows, as a terminal has it.

    python docs/pictures/session.py

The session, its tools, its sandbox and its screen are real; the words of the models are a script, played by the
simulator. It needs the test dependencies (pyte reads the screen, rich draws it).
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from pointsman.simulator import Answer, Rule, Scenario, Simulator, Usage
from pointsman.simulator.request import Request
from rich.console import Console
from rich.style import Style
from rich.text import Text
from screen import Row, Screen

PICTURE: Final = Path(__file__).with_name("session.svg")
COLUMNS: Final = 96
LINES: Final = 48
VENDORS: Final = ("anthropic", "openai", "google")
PRICES: Final = "def total(prices, discount=0.0):\n    return sum(prices) * (1 - discount)\n"
PATCH: Final = {
    "path": "prices.py",
    "old": "(1 - discount)",
    "new": "(1 - discount / 100)",
}
USAGE: Final = Usage(input=2_400, output=90)


def script(request: Request) -> Answer:
    """What the models say."""
    tools = [tool.name for tool in request.tools]
    if "edit_file" not in tools:
        verdict = {"ok": True, "reason": "it changes what was asked for, and nothing else"}
        if request.schema:
            return Answer(json=verdict, usage=USAGE)
        return Answer(tool_calls=({"name": tools[0], "arguments": verdict},), usage=USAGE)
    said: list[dict[str, Any]] = [
        {"name": "run_shell", "arguments": {"command": "grep -n discount prices.py"}},
        {"name": "edit_file", "arguments": PATCH},
    ]
    done = sum(message.role == "tool" for message in request.messages)
    if done < len(said):
        return Answer(tool_calls=(said[done],), usage=USAGE)
    return Answer(text="The discount is in percent now: total divides it by 100.", usage=USAGE)


def session(folder: Path) -> list[Row]:
    """Hold a session in this folder, up to where it has answered."""
    with Simulator(Scenario(rules=(Rule(answer=script),))) as simulator:
        environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        environment |= {"HOME": str(folder), "TERM": "xterm-256color", "POINTSMAN_RISK__CALL__WRITE": "critical"}
        for vendor in VENDORS:
            environment[f"{vendor.upper()}_API_KEY"] = "scripted"
            environment[f"POINTSMAN_PROVIDERS__{vendor.upper()}__BASE_URL"] = simulator.url(vendor)
        shop = folder / "shop"
        shop.mkdir()
        (shop / "prices.py").write_text(PRICES, encoding="utf-8")
        words = [sys.executable, "-m", "pointsman", "code", "--thread", "prices"]
        screen = Screen(lambda **streams: subprocess.Popen(words, cwd=shop, env=environment, **streams), COLUMNS, LINES)
        screen.say("The discount is given in percent. Mend prices.py.")
        screen.say("yes", "[no]: ")
        screen.until("changed prices.py")
        screen.ready()
        shown = screen.drawn()
        screen.type("\x04")
        screen.end()
        if (shop / "prices.py").read_text() == PRICES:
            raise SystemExit("nothing was changed")
        return shown


def main() -> None:
    """Draw the picture."""
    with tempfile.TemporaryDirectory() as folder:
        rows = session(Path(folder))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="standard", force_terminal=True)
    for row in rows:
        text = Text()
        for piece, colour, bold in row:
            text.append(piece, Style(color=colour, bold=bold))
        console.print(text, no_wrap=True, crop=True)
    # Rich has its fonts fetched from elsewhere; whoever looks at the picture has one of their own.
    svg = re.sub(
        r"@font-face \{.*?\}\s*", "", console.export_svg(title="pointsman code", unique_id="session"), flags=re.S
    )
    PICTURE.write_text("".join(f"{line.rstrip()}\n" for line in svg.splitlines()), encoding="utf-8")


if __name__ == "__main__":
    main()
