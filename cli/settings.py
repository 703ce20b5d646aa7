"""Make the settings and the runtime of a command from its options and the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs.errors import ConfigError
from .io.reading import readable
from .io.simulated import heed

if TYPE_CHECKING:
    from ..agents.runtime import Runtime
    from ..configs.schema import Settings

__all__ = ["GIVEN", "Given", "opened", "settings_of"]

_OFFLINE = "POINTSMAN_OFFLINE"


@dataclass(frozen=True, slots=True)
class Given:
    """The options by which a command finds its project.

    Attributes:
        config: The folder with models.yaml and its siblings; that of the project in the working directory if None.
        offline: Nothing leaves the machine.
        overrides: Each is ``key=value`` with a dotted key.
        workspace: Folder for the file and shell tools; the project itself if None.
        sandbox: What happens to commands that cannot be confined; None if not given.
        trust: Trust the files as they are.
    """

    config: Path | None = None
    offline: bool = False
    overrides: Sequence[str] | None = None
    workspace: Path | None = None
    sandbox: str | None = None
    trust: bool = False

    def again(self) -> list[str]:
        """Return the options with which a later command finds this project, settings and workspace from any folder."""
        words = ["--offline"] if self.offline else []
        for name, folder in (("--config", self.config), ("--workspace", self.workspace)):
            words += [] if folder is None else [name, str(folder.absolute())]
        return [*words, *(word for one in self.overrides or () for word in ("--set", one))]


GIVEN: ContextVar[Given] = ContextVar("given", default=Given())  # noqa: B039 - it is frozen
"""The options given to the running command."""


def settings_of(**changes: Any) -> Settings:
    """Load the settings: built in < user < project < environment < options.

    Args:
        changes: Fields of `Given` to replace.

        Raises:
            ConfigError: A folder does not exist, an override has no ``=``, or a file has a mistake.
    """
    from ..configs.loading.loader import environment, load

    given = replace(GIVEN.get(), **changes)
    if given.config is not None and not given.config.is_dir():
        raise ConfigError("--config must name a folder that exists", file=given.config)
    flags: dict[str, Any] = {"offline": True} if given.offline else {}
    if given.sandbox is not None:
        flags["sandbox.mode"] = given.sandbox
    for override in given.overrides or ():
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {override!r} must have the form key=value, such as routing.strategy=quality")
        flags[key.strip()] = value
    settings = load(Path.cwd(), environ=environment(), flags=flags, config_dir=given.config, trust=given.trust or None)
    heed(settings)
    return settings


@contextmanager
def opened(*, attended: bool | None = False, reads: bool = False) -> Iterator[Runtime]:
    """Yield the runtime of a command, and close it at the end.

    Args:
        attended: A person can be asked about commands that cannot be confined, unless the configuration sets
            ``sandbox.mode``; None if that depends on whether the command runs at a terminal.
        reads: The command only reads, so it works even if the state is not writable, and calls no tool.
    """
    from ..agents.runtime import Runtime
    from .io.approval import at_terminal

    workspace = GIVEN.get().workspace
    if workspace is not None and not workspace.is_dir():
        raise ConfigError("--workspace must name a folder that exists", file=workspace)
    settings = settings_of()
    asks = at_terminal() if attended is None else attended or reads
    if asks and "sandbox.mode" not in settings.origins:
        settings = settings.model_copy(update={"sandbox": settings.sandbox.model_copy(update={"mode": "ask"})})
    with readable(settings) if reads else nullcontext(settings) as usable:
        place = workspace.resolve() if workspace else None
        with Runtime(usable, workspace=place) as runtime, _everywhere(GIVEN.get().offline):
            yield runtime


@contextmanager
def _everywhere(offline: bool) -> Iterator[None]:
    """Apply ``--offline`` to what the user's own code runs on the default runtime, too."""
    before = os.environ.get(_OFFLINE)
    if offline:
        os.environ[_OFFLINE] = "1"
    try:
        yield
    finally:
        if offline and before is None:
            del os.environ[_OFFLINE]
        elif before is not None:
            os.environ[_OFFLINE] = before
