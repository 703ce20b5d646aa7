"""A clean environment for every test: no keys, no configuration of the user's, a folder and a clock of its own."""

from __future__ import annotations

import asyncio
import faulthandler
import fcntl
import gc
import hashlib
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import certifi
import hypothesis
import pytest

# The matrices here are small, and threads of linear algebra that wait for each other cost more than they do.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says how busy the machine is. Of the tests that leave the slow ones out, a part is enough.
for profile, examples in (("pointsman", 100), ("quick", 25)):
    hypothesis.settings.register_profile(
        profile, max_examples=examples, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
hypothesis.settings.load_profile("pointsman")

# What is imported and collected stays to the end, and looking through it again and again is a tenth of all the work.
gc.set_threshold(100_000, 20, 50)
gc.disable()

T = TypeVar("T")

BOUND_SECONDS = 240.0
"""Far above what anything here takes on a busy machine: only what would never end takes longer."""

KEYS = ("_API_KEY", "AWS_", "GOOGLE_", "POINTSMAN_", "LANGSMITH_", "LANGCHAIN_")


def pytest_collection_finish() -> None:
    """Collect garbage from here on, and never what was collected as tests."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def _one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of the usual certificates: a client reads all of them when it is made, and none is asked for here."""
    first, end, _ = Path(certifi.where()).read_text(encoding="utf-8").partition("-----END CERTIFICATE-----")
    file = tmp_path_factory.mktemp("certificates") / "one.pem"
    file.write_text(f"{first}{end}\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new name for each test's home: pytest would look through all there are for the next number."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in count())


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return count()


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory, _numbers: Iterator[int], request: pytest.FixtureRequest) -> Path:
    """A folder of the test's own, without looking through all there are for the next number, as pytest does."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    folder = tmp_path_factory.getbasetemp() / f"{name}-{next(_numbers)}"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, _one_certificate: Path, _homes: Iterator[Path]) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(_one_certificate))
    for name in list(os.environ):
        if name.endswith(KEYS[0]) or name.startswith(KEYS[1:]):
            monkeypatch.delenv(name)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    home = next(_homes)
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))


class Leap:
    """`time.monotonic` and the clock of every event loop, set forward by a test instead of waiting for a time limit.

    Limits can then be so long that no busy machine reaches them by itself. Clients that are not asynchronous wait in
    the operating system and are not moved.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._loops: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._clock = time.monotonic

    def now(self) -> float:
        """The time in seconds, from any beginning."""
        return self._clock() + self._ahead

    def of_loop(self, loop: asyncio.AbstractEventLoop) -> float:
        """What the loop takes for the time, which is woken from now on when the time is set forward."""
        self._loops.add(loop)
        return self.now()

    def forward(self, seconds: float) -> None:
        """Let that much time be over, in every loop at once."""
        self._ahead += seconds
        for loop in list(self._loops):
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(lambda: None)

    async def through(self, work: Awaitable[T], step: float) -> T:
        """Await work while that much time goes by every hundredth of a second."""
        task = asyncio.ensure_future(work)
        while not task.done():
            self.forward(step)
            await asyncio.sleep(0.01)
        return await task

    @contextmanager
    def when(self, happened: Callable[[], bool], seconds: float) -> Iterator[None]:
        """Go forward as soon as something has happened that the body waits behind."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.005):
                if happened():
                    self.forward(seconds)
                    return

        watcher = threading.Thread(target=watch, name="leap")
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


@pytest.fixture
def leap(monkeypatch: pytest.MonkeyPatch) -> Leap:
    """A clock that is set forward."""
    clock = Leap()
    monkeypatch.setattr(time, "monotonic", clock.now)
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda loop: clock.of_loop(loop))
    return clock


@pytest.fixture
def ends() -> Callable[[Callable[[], T]], T]:
    """Run a function in a thread and give what it returned or raised; fail, showing every thread, if it never ends."""

    def run(work: Callable[[], T]) -> T:
        results: list[T] = []
        errors: list[BaseException] = []

        def thread() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)

        worker = threading.Thread(target=thread, daemon=True)
        worker.start()
        worker.join(BOUND_SECONDS)
        if worker.is_alive():
            faulthandler.dump_traceback(all_threads=True)
            pytest.fail(f"no end after {BOUND_SECONDS:.0f} seconds")
        if errors:
            raise errors[0]
        return results[0]

    return run


@pytest.fixture
def benchmark() -> Callable[[Callable[[], T]], T]:
    """Call something as LangChain's suites do to take its time, of which nothing is asked here."""
    return lambda work: work()


@pytest.fixture
def snapshot() -> None:
    """What LangChain's suites ask for before they skip a test."""


@pytest.fixture
def vcr() -> None:
    """What LangChain's suites ask for before they skip a test."""


COMMAND = """#!{python} -IS
import json, os, socket, sys
report, theirs = socket.socketpair()
program = {{"argv": ["-c", {code!r}, *sys.argv[1:]], "cwd": os.getcwd(), "env": dict(os.environ)}}
descriptors = [theirs.fileno(), 0, 1, 2]
socket.send_fds(socket.socket(fileno={control}), [json.dumps(program).encode() + b"\\n"], descriptors)
theirs.close()
os._exit(int(report.makefile().read().split()[1]) & 255)
"""


class Programs:
    """Runs Python programs in processes of their own, each a fork of one that has imported the frameworks already."""

    def __init__(self, folder: Path) -> None:
        """Reach the process that the folder's users share, or start it."""
        self._lock = threading.Lock()
        self._file = folder / "programs"
        self._control = socket.socket(socket.AF_UNIX)
        self._server: subprocess.Popen[bytes] | None = None
        address = f"\0pointsman-{hashlib.sha256(os.fsencode(folder)).hexdigest()}"
        with self._alone():
            try:
                self._control.connect(address)
            except ConnectionRefusedError:
                self._server = self._started(address)
                self._control.connect(address)

    def close(self) -> None:
        with self._alone():
            self._control.shutdown(socket.SHUT_WR)
            # It says nothing, but hangs up.
            self._control.recv(1)
        self._control.close()
        if self._server is not None:
            self._server.wait(BOUND_SECONDS)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._file.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _started(address: str) -> subprocess.Popen[bytes]:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            server = [sys.executable, str(Path(__file__).with_name("programs.py")), str(listener.fileno())]
            return subprocess.Popen(server, pass_fds=[listener.fileno()])

    def start(self, words: Iterable[object], **options: Any) -> Program:
        """Start what ``python words`` runs, ``-c`` and a code or a file; options are those of `subprocess.Popen`."""
        return Program([str(word) for word in words], executable=self._hand_over, **options)

    def run(self, words: Iterable[object], *, input: str | None = None, check: bool = False, **options: Any) -> Any:
        """Run it to its end as `subprocess.run` does, with what it prints captured."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        options.setdefault("stdin", subprocess.DEVNULL if input is None else subprocess.PIPE)
        with self.start(words, **options) as program:
            try:
                out, err = program.communicate(input, timeout=BOUND_SECONDS)
            finally:
                program.kill()
        ended = subprocess.CompletedProcess(program.args, program.returncode, out, err)
        if check:
            assert ended.returncode == 0, err
        return ended

    def command(self, file: Path, code: str) -> int:
        """Write a command for a shell that runs code so.

        Args:
            file: Where it goes.
            code: What it runs, with the command's arguments.

        Returns:
            The descriptor that the shell must inherit.
        """
        file.write_text(COMMAND.format(python=sys.executable, control=self._control.fileno(), code=code))
        file.chmod(0o755)
        return self._control.fileno()

    def _hand_over(self, program: dict[str, Any], *descriptors: int) -> None:
        with self._lock:
            told = json.dumps(program).encode() + b"\n"
            sent = socket.send_fds(self._control, [told], list(descriptors))
            self._control.sendall(told[sent:])


class Program(subprocess.Popen[str]):
    """A program under way: a `subprocess.Popen` whose process is another's child, which tells how it ended."""

    def _execute_child(self, args, hand_over, preexec_fn, close_fds, pass_fds, cwd, env, *others):  # type: ignore[no-untyped-def,override]
        # Of the others, the fourth to the ninth are the ends of the pipes.
        reading, _, _, writing, _, telling = others[3:9]
        self._report, theirs = socket.socketpair()
        ends = [end if end != -1 else number for number, end in enumerate((reading, writing, telling))]
        with theirs:
            program = {"argv": args, "cwd": str(cwd or Path.cwd()), "env": dict(os.environ if env is None else env)}
            hand_over(program, theirs.fileno(), *ends)
        self._told = self._report.makefile("r")
        self.pid = int(self._told.readline())
        self._child_created = True
        self._close_pipe_fds(*others[3:9])  # type: ignore[attr-defined]

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self._ended()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._report], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._ended()
        return self.returncode

    def _ended(self) -> None:
        self.returncode = int(self._told.readline())
        self._told.close()
        self._report.close()


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """Runs programs as quickly as functions; what is tried with it must not depend on what is imported."""
    folder = tmp_path_factory.getbasetemp()
    # The folder above that of a worker is the one of all workers.
    made = Programs(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)
    yield made
    made.close()


@dataclass(frozen=True)
class Request:
    """What a server on loopback was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Request], tuple[int, dict[str, str], bytes | Iterable[bytes]]]
"""What a server says to a request: the status, the headers, and the body, sent piece by piece where it is no bytes."""


class Loopback(ThreadingHTTPServer):
    """Answers every request by a function, until it is closed."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._open = True
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while self._open:
            self.handle_request()

    def close(self) -> None:
        self._open = False
        # It waits for a request and for nothing else.
        socket.create_connection(self.server_address[:2]).close()
        self._thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Loopback

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        status, named, said = self.server.answer(Request(self.command, self.path, headers, body))
        whole = isinstance(said, bytes)
        self.send_response(status)
        length = {"content-length": str(len(said))} if whole else {"transfer-encoding": "chunked"}  # type: ignore[arg-type]
        for name, value in {**named, **length}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for piece in [said] if whole else said:
                self.wfile.write(piece if whole else b"%x\r\n%s\r\n" % (len(piece), piece))  # type: ignore[operator, arg-type]
            self.wfile.write(b"" if whole else b"0\r\n\r\n")
        except OSError:  # the client has hung up
            self.close_connection = True

    do_GET = do_POST


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Answer], str]]:
    """Answer HTTP requests on loopback by a function; gives the address."""
    made: list[Loopback] = []

    def start(answer: Answer) -> str:
        made.append(Loopback(answer))
        return made[-1].url

    yield start
    for server in made:
        server.close()


FAKE_SECRETS = {
    "openai": ("sk-proj-Ab3dEf6hIj9kLmN0pQrStUvWxYz12345", None),
    "anthropic": ("sk-ant-api03-Zx9_wQ7-rT5yUi3oPa1sDf", None),
    "google": ("AIzaSyD3m0Key1234567890abcdefghijklmnop", None),
    "aws id": ("AKIAZ7EXAMPLE4Q2RT6U", None),
    "aws": ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYz"),
    "github": ("ghp_Ab3dEf6hIj9kLmN0pQrStUvWxYz123456789", None),
    "slack": ("xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx", None),
    "stripe": ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", None),
    "jwt": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", None),
    "pem": (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7tFaKe\nq9Zt4mN7yR2wX5vL9k\n-----END RSA PRIVATE KEY-----",
        "MIIEpAIBAAKCAQEA7tFaKe",
    ),
    "url": ("postgresql://app:p4ssW0rd!x@db.internal:5432/shop", "p4ssW0rd!x"),
    "bearer": ("Authorization: Bearer q8Zt-4mN_7yR2wX5vL9k", "q8Zt-4mN_7yR2wX5vL9k"),
    "basic": ("Authorization: Basic dXNlcjpodW50ZXIycGFzcw==", "dXNlcjpodW50ZXIycGFzcw"),
    "generic": ("service_token=Zq7mR2vX9tL4wN8pK3sD6fG1", "Zq7mR2vX9tL4wN8pK3sD6fG1"),
    "env": ("DB_PASSWORD=c0rrect-h0rse-staple\nSESSION_SECRET='n0t.so/secret+value'", "c0rrect-h0rse-staple"),
    "prose": ("the admin password is Tr0ub4dor&3x", "Tr0ub4dor&3x"),
    "card": ("4242 4242 4242 4242", None),
}
"""Kind -> a text with a secret of that kind, and the secret in it, None where all of it is."""


@pytest.fixture(params=FAKE_SECRETS)
def fake_secret(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A text that holds a secret, and the secret."""
    text, secret = FAKE_SECRETS[request.param]
    return text, secret or text


@pytest.fixture
def fake_secrets() -> dict[str, tuple[str, str]]:
    """Kind -> a text that holds a secret of that kind, and the secret."""
    return {kind: (text, secret or text) for kind, (text, secret) in FAKE_SECRETS.items()}
