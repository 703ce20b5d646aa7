"""Open the project that `pointsman init` writes in LangGraph's own dev server, run its graph, and answer its interrupt.

    pip install "langgraph-cli[inmem]"      # Elastic licence: for development only, in an environment of its own
    python benchmarks/langgraph_dev.py

It needs the commands `pointsman` and `langgraph` next to the Python that runs it, but no key: the models are simulated.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from stage import options

BIN = Path(sys.executable).parent
SECONDS = 90.0


async def drive(url: str) -> dict[str, Any]:
    """Run the graph until it asks, answer as LangChain's agent inbox does, and return the outcome."""
    from langgraph_sdk import get_client

    client = get_client(url=url)
    (assistant,) = await client.assistants.search()
    schemas = await client.assistants.get_schemas(assistant["assistant_id"])
    thread = (await client.threads.create())["thread_id"]
    asked: Any = await client.runs.wait(thread, "service", input={"task": 'Please cancel_order "A-1001"'})
    (stop,) = asked["__interrupt__"]
    state = await client.threads.get_state(thread)
    answer: Any = {"resume": {"decisions": [{"type": "approve"}]}}
    done: Any = await client.runs.wait(thread, "service", command=answer)
    return {
        "graph": assistant["graph_id"],
        "input": sorted((schemas["input_schema"] or {}).get("properties", {})),
        "asked": stop["value"]["action_requests"][0]["name"],
        "waits_at": state["next"],
        "acts": [(act["tool"], act["arguments"], act["outcome"]) for act in done["done"][0]["acts"]],
        "output": done["output"],
    }


def main() -> None:
    """Print the server's replies as JSON."""
    options(__doc__)
    if not (BIN / "langgraph").exists():
        raise SystemExit(f"there is no langgraph beside {sys.executable}: pip install 'langgraph-cli[inmem]' there")
    with tempfile.TemporaryDirectory() as folder:
        home, project = Path(folder) / "home", Path(folder) / "desk"
        home.mkdir()
        environ = {**os.environ, "HOME": str(home), "POINTSMAN_OFFLINE": "1", "LANGSMITH_TRACING": "false"}
        subprocess.run([BIN / "pointsman", "init", project], check=True, env=environ, stdout=subprocess.DEVNULL)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = Path(folder) / "server.log"
        words = [BIN / "langgraph", "dev", "--no-browser", "--no-reload", "--port", str(port)]
        with log.open("wb") as out, subprocess.Popen(words, cwd=project, env=environ, stdout=out, stderr=out) as server:
            try:
                _wait(f"http://127.0.0.1:{port}/ok", server)
                print(json.dumps(asyncio.run(drive(f"http://127.0.0.1:{port}")), indent=2))
            except BaseException:
                print(log.read_text(errors="replace")[-4000:], file=sys.stderr)
                raise
            finally:
                server.terminate()


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.25)
    raise TimeoutError(f"the server did not answer at {url} within {SECONDS:.0f} s")


if __name__ == "__main__":
    main()
