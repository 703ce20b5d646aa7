"""Tell somebody that an act waits for a person, as the user's own configuration says."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from ...configs.loading.loader import environment
from ...configs.redact import redact, redacted
from ...configs.schema import safe_url
from ..result import Pending

if TYPE_CHECKING:
    from ...configs.schema import NotifyPolicy, Settings

__all__ = ["has_hook", "notified", "resume_command"]


def resume_command(run: str, *words: str) -> str:
    """Return the command that resumes a run, quoted for a shell.

    Args:
        run: Its id.
        words: Further words.
    """
    return shlex.join(("pointsman", "resume", run, *words))


def has_hook(settings: Settings) -> bool:
    """Return whether anybody is to be notified of what waits.

    Args:
        settings: Say whom to notify.
    """
    policy = settings.approval.notify
    return bool(policy.command or policy.url)


def notified(settings: Settings, run: str, target: str, acts: Sequence[Pending]) -> tuple[str, ...]:
    """Notify somebody of acts that now wait; this blocks until they are told or the timeout expires.

    Args:
        settings: Say whom to notify, and hold the secrets to withhold.
        run: The run that waits.
        target: What runs.
        acts: The acts that now wait.

    Returns:
        A note for each channel that failed; the run waits regardless.
    """
    policy = settings.approval.notify
    ways: dict[str, Callable[[bytes], str]] = {}
    if policy.command:
        ways["command"] = lambda told: _run(policy, told, settings.secrets)
    if (url := policy.url) is not None:
        ways["url"] = lambda told: _post(url, told, policy.timeout)
    if not ways or not acts:
        return ()
    waiting = [redacted({**asdict(act), "arguments": dict(act.arguments)}) for act in acts]
    said = {"run": run, "target": target, "answer": resume_command(run, "--approve", "ID"), "pending": waiting}
    told = json.dumps(said, ensure_ascii=False, default=lambda value: redact(str(value))).encode("utf-8", "replace")
    failed = {name: why for name, way in ways.items() if (why := _within(policy.timeout, way, told))}
    return tuple(
        f"approval.notify.{name} did not tell that an act waits: {redact(why)}" for name, why in failed.items()
    )


def _within(seconds: float, way: Callable[[bytes], str], told: bytes) -> str:
    """Return why a notification failed, else an empty text, within its timeout: a server may send bytes very slowly."""
    why = [f"it took longer than {seconds:g} s"]

    def tell() -> None:
        try:
            why[0] = way(told)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must not fail for it
            why[0] = str(error) or type(error).__name__

    teller = threading.Thread(target=tell, name="pointsman-notify", daemon=True)
    teller.start()
    # Ending a program at its timeout takes a moment more.
    teller.join(seconds + 1)
    return why[0]


def _run(policy: NotifyPolicy, told: bytes, secrets: Mapping[str, Any]) -> str:
    """Pass it to the program, whose environment is this process's without the keys of the model providers."""
    environ = {name: value for name, value in environment().items() if name not in secrets}
    program = subprocess.Popen(  # noqa: S603 - the user's own program, without a shell
        policy.command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environ,
        start_new_session=True,
    )
    try:
        program.communicate(told, timeout=policy.timeout)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        return f"it took longer than {policy.timeout:g} s"
    return f"it ended with {program.returncode}" if program.returncode else ""


class _NoRedirect(HTTPRedirectHandler):
    """Refuse redirects: a notification goes only to the address that the user configured."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        return None


def _post(url: str, told: bytes, seconds: float) -> str:
    if "://" not in url:
        held = environment().get(url, "").strip()
        if not held:
            return f"the environment variable {url} is not set"
        url = safe_url(held)
    # An http:// address is on this machine, so no proxy is used.
    opener = build_opener(_NoRedirect, *([ProxyHandler({})] if url.startswith("http://") else ()))
    request = Request(url, told, {"content-type": "application/json"})  # noqa: S310 - `safe_url` has checked it
    try:
        with opener.open(request, timeout=seconds):
            return ""
    except HTTPError as error:
        with error:
            return f"the server answered {error.code}"
