"""`Runtime`: what agents run on: the dispatcher, the shared memory, the tools and the workspace of one project."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..configs.process.closing import Closing
from ..configs.process.once import Once
from ..configs.schema import MEMORY_TOKEN, Settings
from ..dispatch.context import runtime_of_run
from ..dispatch.defaults import Shared, default_settings, shared_dispatcher
from ..dispatch.state.ownership import claim, root_of

if TYPE_CHECKING:
    from ..dispatch.dispatcher import Dispatcher
    from ..ledger.ledger import Ledger
    from ..memory.store import ChromaStore
    from ..tools.files.workspace import Workspace
    from ..tools.registry import ToolRegistry

__all__ = ["Runtime"]


class Runtime(Closing):
    """One project's dispatcher, memory and tools, each created on first use.

    Args:
        settings: The configuration.
        workspace: The folder that file and shell tools may touch; the project itself when absent.
    """

    def __init__(self, settings: Settings, *, workspace: Path | None = None) -> None:
        self._settings = settings
        program = getattr(sys.modules.get("__main__"), "__file__", None)
        self._protected = [*settings.obeyed, root_of(settings), *([Path(program)] if program else ())]
        self.workspace = workspace or settings.project
        self._closed = False

    @classmethod
    def default(cls) -> Runtime:
        """Return the runtime of the current run, else that of the project in the working directory.

        A project has one runtime for each resolved configuration under the current environment, shared by all threads;
        `RoutedChatModel` without its own dispatcher uses the same. If the environment or the project's files have
        changed, or it was closed, the next call outside a run returns a new one; whoever holds the old one keeps
        using it.

        Raises:
            ConfigError: A file or a variable is wrong.
        """
        runtime = runtime_of_run()
        return runtime if isinstance(runtime, Runtime) else _defaults.of(default_settings())

    @property
    def closed(self) -> bool:
        """Whether it, or the dispatcher it runs on, was closed."""
        return self._closed or ("dispatcher" in self.__dict__ and self.dispatcher.closed)

    @property
    def settings(self) -> Settings:
        """The current configuration: the dispatcher picks up a policy whose file has changed."""
        return self.dispatcher.settings if "dispatcher" in self.__dict__ else self._settings

    @Once
    def dispatcher(self) -> Dispatcher:
        """Chooses and calls models."""
        from ..dispatch.dispatcher import Dispatcher

        return Dispatcher(self._settings)

    @property
    def ledger(self) -> Ledger:
        """Where every decision and call is recorded."""
        return self.dispatcher.ledger

    @Once
    def store(self) -> ChromaStore:
        """The memory all agents share."""
        from ..dispatch.embedding import embedder_of
        from ..memory.store import ChromaStore

        if self.settings.memory is not None:
            token = self.settings.secrets.get(MEMORY_TOKEN)
            return ChromaStore.open(self.settings.memory, token=token.get_secret_value() if token else "")
        claim(self.settings)
        return ChromaStore(self.settings.state / "memory", embedder_of(self.settings, lambda: self.dispatcher))

    @Once
    def tools(self) -> ToolRegistry:
        """The tools agents may name."""
        from ..tools.registry import ToolRegistry

        servers = None
        if self._settings.mcp:
            from ..configs.loading.loader import environment
            from ..configs.loading.trust import TrustStore
            from ..tools.mcp.servers import McpServers

            servers = McpServers(
                self._settings.mcp,
                secrets=self._settings.secrets,
                trust=TrustStore(environment()),
                offline=self._settings.offline,
            )
        protected, sandbox = self._protected_in(self.workspace), self._settings.sandbox
        return ToolRegistry.for_workspace(self.workspace, protected=protected, mcp=servers, sandbox=sandbox)

    async def reach(self, tools: Iterable[object]) -> None:
        """Connect to the MCP servers of these tools, so that looking the tools up does not wait for them.

        Args:
            tools: As agents are given them; only names of MCP tools matter.

        Raises:
            ConfigError: A server cannot be used.
        """
        names = [tool for tool in tools if isinstance(tool, str)]
        if names and self._settings.mcp and self.tools.mcp is not None:
            await self.tools.mcp.connect(names)

    def opened_at(self, folder: Path) -> Workspace:
        """Open a folder as a workspace for tools, with the same paths protected as in the runtime's own workspace.

        Args:
            folder: The folder.

        Raises:
            ConfigError: There is no such folder.
        """
        from ..tools.files.workspace import Workspace

        return Workspace(folder, protected=self._protected_in(folder))

    def protect(self, files: Iterable[Path]) -> None:
        """Keep the file tools from writing further files, beside the configuration, the state and the running program.

        Args:
            files: Files or folders, existing or not. They apply to tools that are created afterwards.
        """
        self._protected += files

    def _protected_in(self, folder: Path) -> list[Path]:
        return [*self._protected, *_running(folder)]

    def close(self) -> None:
        """Write what is still queued and release files. The runtime must not be used afterwards."""
        self._closed = True
        for made in ("dispatcher", "store", "tools"):
            if made in self.__dict__:
                self.__dict__[made].close()


def _running(workspace: Path) -> Iterator[Path]:
    """Yield the code in the workspace that this process runs, and would run again the next time."""
    tops = tuple({os.path.join(place, "") for place in (os.path.abspath(workspace), os.path.realpath(workspace))})
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    for file in (sys.prefix, *files):
        if isinstance(file, str) and file.startswith(tops):
            yield Path(file)


class _Default(Runtime):
    """A runtime that uses the shared dispatcher."""

    @Once
    def dispatcher(self) -> Dispatcher:
        """Chooses and calls models."""
        return shared_dispatcher(self._settings)


_defaults: Shared[Runtime] = Shared(_Default)
