"""A process that has imported the frameworks, of which a fork runs each program that a test wants in its own process.

A new interpreter takes seconds to import them; a fork takes milliseconds. The program's process is like any other:
it may be killed, leave in any way, and finishes as an interpreter does, except that the frameworks' modules are not
taken apart. The fixture `programs` starts this file with the number of a listening socket, to which the workers of
pytest connect; over their connections the programs come.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import select
import socket
import sys
import types
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

IMPORTED = (
    "chromadb.api.rust",
    "chromadb.telemetry.product.posthog",
    "cryptography.hazmat.primitives.ciphers.aead",
    "genai_prices.data",
    "google.auth.aio.credentials",
    "httpcore2",
    "langchain.agents",
    "langchain_anthropic",
    "langchain_core.messages.block_translators.langchain_v0",
    "langchain_core.tracers.context",
    "langchain_core.tracers.run_collector",
    "langchain_core.tracers.stdout",
    "langchain_google_genai",
    "langchain_openai",
    "langgraph.checkpoint.sqlite.aio",
    "mcp",
    "openai.lib.streaming.chat",
    "openai.pagination",
    "openai.resources.chat.chat",
    "openai.resources.chat.completions.completions",
    "openai.resources.responses",
    "openai.types.chat.completions",
    "prompt_toolkit.shortcuts",
    "scipy.linalg",
    "scipy.sparse",
)

SCHEMAS = {
    "anthropic.types": ("Message", "Usage"),
    "google.genai.types": (
        *("_GenerateContentParameters", "Candidate", "Content", "FunctionCall", "FunctionDeclaration", "Part", "Tool"),
        *("GenerateContentConfig", "GenerateContentResponse", "GenerateContentResponseUsageMetadata", "ToolConfig"),
        *("GenerationConfig", "HttpOptions", "HttpResponse", "HttpRetryOptions"),
    ),
    "langchain_anthropic": ("ChatAnthropic",),
    "langchain_google_genai": ("ChatGoogleGenerativeAI",),
    "langchain_openai": ("ChatOpenAI",),
    "openai.types.chat": ("ChatCompletion", "ChatCompletionChunk"),
}
"""Module -> those of its classes whose schemas Pydantic builds at their first use."""


def serve(listener: socket.socket) -> Any:
    """Fork a process for each program that comes, from whoever; return only in such a process, with its program."""
    users: list[socket.socket] = []
    while True:
        for ready in select.select([listener, *users], [], [])[0]:
            if ready is listener:
                users.append(listener.accept()[0])
                continue
            told, descriptors, _, _ = socket.recv_fds(ready, 65536, 4)
            if not told:
                _left(ready, users, listener)
                continue
            while not told.endswith(b"\n"):
                told += ready.recv(65536)
            if _fork() == 0:
                for open_one in (listener, *users):
                    open_one.close()
                return _begin(json.loads(told), *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            # On a busy machine all there were may have ended by now.
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _left(user: socket.socket, users: list[socket.socket], listener: socket.socket) -> None:
    """Forget a user, who waits for that; end with the last, whom nobody can follow any more by then."""
    users.remove(user)
    if not users:
        listener.close()
    user.close()
    if not users:
        os._exit(0)


def _fork() -> int:
    with warnings.catch_warnings():
        # Pythons from 3.12 on warn of threads, which a library of numbers may have.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _begin(program: Any, report: int, *streams: int) -> Any:
    """Fork the program's own process; stay to tell its number and how it ended."""
    pid = _fork()
    if pid == 0:
        os.close(report)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return program
    for descriptor in (*streams, 0, 1, 2):
        os.close(descriptor)
    os.write(report, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    os.write(report, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def run(argv: list[str], cwd: str, env: dict[str, str]) -> None:
    """Run what `python argv` runs: ``-c`` and a code, or a file."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    module = types.ModuleType("__main__")
    if argv[0] == "-c":
        name, code, sys.argv, sys.path[0] = "<string>", argv[1], ["-c", *argv[2:]], ""
    else:
        name, sys.argv, sys.path[0] = argv[0], argv, os.path.dirname(os.path.abspath(argv[0]))
        module.__file__ = name
        with open(name, encoding="utf-8") as file:
            code = file.read()
    sys.modules["__main__"] = module
    exec(compile(code, name, "exec"), module.__dict__)


def _spare() -> None:
    """Take the frameworks out of what an interpreter takes apart at its end: that copies most of the memory."""
    for name in KEPT:
        sys.modules.pop(name, None)


KEPT: dict[str, types.ModuleType] = {}


def _warm() -> None:
    """Do once what every program would do again with the same result: import, build, and read what it came with."""
    for name in IMPORTED:
        import_module(name)
    package = import_module("pointsman")
    for module in pkgutil.walk_packages(package.__path__, "pointsman."):
        # Pytest has to find its plug-in not yet imported.
        if not module.name.endswith((".__main__", ".pytest_plugin")):
            import_module(module.name)
    for place, names in SCHEMAS.items():
        for name in names:
            getattr(import_module(place), name).model_rebuild()
    import_module("pointsman.backends.ondevice").WordLlamaEmbeddings().count_tokens("its weights are loaded")
    import_module("pointsman.configs.loading.loader").load(Path(__file__).parent, environ={}, user=Path(os.devnull))
    # Each pattern is compiled at its first use.
    all(pattern.sub for _, pattern, _ in import_module("pointsman.configs.redact")._RULES)


if __name__ == "__main__":
    # First, so that it comes after whatever else is done at the end.
    atexit.register(_spare)
    # Kept, since Python clears what a module holds when nothing holds the module.
    this = sys.modules["__main__"]
    _warm()
    ours = {"__main__", "pointsman", *sys.stdlib_module_names}
    KEPT.update((name, module) for name, module in sys.modules.items() if name.partition(".")[0] not in ours)
    gc.collect()
    gc.freeze()
    run(**serve(socket.socket(fileno=int(sys.argv[1]))))
