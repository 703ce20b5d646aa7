"""Every tool an agent may name: built-in, from the user's modules, from installed plugins, from MCP servers."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..configs.errors import ConfigError
from ..configs.loading.layers import suggest
from ..configs.process.closing import Closing
from ..configs.sandbox import Sandbox
from .base import MEMORY_TOOLS
from .files.workspace import Workspace
from .mcp.offered import PREFIX
from .mcp.servers import McpServers

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

__all__ = ["ENTRY_POINTS", "ToolRegistry"]

ENTRY_POINTS = "pointsman.tools"
"""The entry-point group of plugins: ``tool_name = "module:tool"``."""

_BUILT_IN = (
    "read_file",
    "write_file",
    "edit_file",
    "apply_patch",
    "list_files",
    "search_files",
    "read_document",
    "read_image",
    "run_shell",
)


@dataclass(frozen=True, slots=True)
class _Source:
    name: str
    load: Callable[[], BaseTool]


class ToolRegistry(Closing):
    """Finds tools by name, loading each kind of source only when it is first needed.

    A plugin is imported when its tool is requested; the user's modules are imported, and the entry points listed, on
    the first request. An MCP server is started when one of its tools is first requested; `McpServers.connect` starts it
    in advance, so that no request has to wait.

    Args:
        workspace: The workspace of the built-in tools; without one there are none.
        modules: Dotted names of the user's modules; every tool at their top level is found.
        plugins: Whether to use the entry points of installed distributions.
        mcp: MCP servers; their tools are called ``mcp__<server>__<tool>``.
        sandbox: How shell commands are confined.
    """

    def __init__(
        self,
        workspace: Workspace | None = None,
        *,
        modules: Iterable[str] = (),
        plugins: bool = True,
        mcp: McpServers | None = None,
        sandbox: Sandbox | None = None,
    ) -> None:
        self._workspace = workspace
        self._sandbox = sandbox or Sandbox()
        self._modules = tuple(modules)
        self._plugins = plugins
        self.mcp = mcp
        self._sources: dict[str, _Source] | None = None
        self._tools: dict[str, BaseTool] = {}
        self._added: list[tuple[BaseTool, str]] = []

    @classmethod
    def for_workspace(
        cls,
        root: Path,
        *,
        protected: Iterable[Path] = (),
        mcp: McpServers | None = None,
        sandbox: Sandbox | None = None,
    ) -> ToolRegistry:
        """Return a registry of the built-in tools bound to a folder, and of installed plugins.

        Args:
            root: The folder.
            protected: Files and folders that may not be written, existing or not; those outside the folder are ignored.
            mcp: MCP servers.
            sandbox: How shell commands are confined.

        Raises:
            ConfigError: If there is no such folder.
        """
        return cls(Workspace(root, protected=protected), mcp=mcp, sandbox=sandbox)

    def add(self, tools: Sequence[BaseTool], *, source: str) -> None:
        """Add tools that were built elsewhere, such as those bound to a memory.

        Args:
            tools: The tools.
            source: Where they come from, for messages.

        Raises:
            ConfigError: If a name is taken.
        """
        self._take([(tool, source) for tool in tools])

    def names(self) -> list[str]:
        """Return the name of every tool, sorted, without those of MCP servers."""
        return sorted(self._found())

    def get(self, name: str) -> BaseTool:
        """Return a tool.

        Raises:
            ConfigError: If there is no tool of this name, two sources have one, a plugin cannot be loaded, or as for
                `McpServers.get`.
        """
        if name.startswith(PREFIX) and self.mcp is not None and name not in self._tools:
            return self.mcp.get(name)
        if name not in self._tools:
            source = self._found().get(name)
            if source is None:
                raise ConfigError(f"there is no tool {name!r}{self._hint(name)}")
            self._tools[name] = source.load()
        return self._tools[name]

    def close(self) -> None:
        """Stop the MCP servers that were started."""
        if self.mcp is not None:
            self.mcp.close()

    def _take(self, found: list[tuple[BaseTool, str]]) -> None:
        """Add all of these tools, or none if a name is taken."""
        if self._sources is not None:
            sources = dict(self._sources)
            for tool, source in found:
                _enter(sources, tool.name, _Source(source, _giving(tool)))
            self._sources = sources
        self._added += found

    def _hint(self, name: str) -> str:
        if name in _BUILT_IN and self._workspace is None:
            return ": it is built in, but needs a workspace"
        if name in MEMORY_TOOLS:
            return ": it works on the memory of its agent, so give the agent one, such as memory='team'"
        if meant := suggest(name, self.names()):
            return meant
        if name.startswith(PREFIX):
            return ": no MCP server is configured, under mcp in agents.yaml"
        return f"; there are {', '.join(self.names()) or 'none at all'}"

    def _found(self) -> dict[str, _Source]:
        if self._sources is None:
            sources: dict[str, _Source] = {}
            if self._workspace is not None:
                for name in _BUILT_IN:
                    _enter(sources, name, _Source("Pointsman itself", _built_in(self._workspace, self._sandbox, name)))
            for module in self._modules:
                for tool in _tools_of(module):
                    _enter(sources, tool.name, _Source(f"the module {module}", _giving(tool)))
            if self._plugins:
                for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
                    _enter(sources, point.name, _plugin(point))
            for tool, source in self._added:
                _enter(sources, tool.name, _Source(source, _giving(tool)))
            self._sources = sources
        return self._sources


def _enter(sources: dict[str, _Source], name: str, source: _Source) -> None:
    if name in sources:
        raise ConfigError(
            f"two tools are called {name!r}: one of {sources[name].name}, one of {source.name}; rename one"
        )
    sources[name] = source


def _giving(tool: BaseTool) -> Callable[[], BaseTool]:
    return lambda: tool


def _built_in(workspace: Workspace, sandbox: Sandbox, name: str) -> Callable[[], BaseTool]:
    def load() -> BaseTool:
        if name == "run_shell":
            from .shell.shell import shell_tool

            return shell_tool(workspace, sandbox)
        if name == "read_image":
            from .images import image_tools as make
        elif name == "read_document":
            from .documents.tool import document_tools as make
        else:
            from .files.files import file_tools as make
        return next(tool for tool in make(workspace) if tool.name == name)

    return load


def _tools_of(module: str) -> list[BaseTool]:
    from langchain_core.tools import BaseTool

    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise  # the module exists, but one that it imports does not
        raise ConfigError(f"there is no module {module!r} to take tools from") from error
    # A tool with two names, or imported from another module, counts once.
    return list({id(tool): tool for tool in vars(loaded).values() if isinstance(tool, BaseTool)}.values())


def _plugin(point: importlib.metadata.EntryPoint) -> _Source:
    source = f"the distribution {point.dist.name!r}" if point.dist else f"the entry point {point.value!r}"

    def load() -> BaseTool:
        from langchain_core.tools import BaseTool

        try:
            tool = point.load()
        except Exception as error:  # a plugin is third-party code, and importing it can raise anything
            raise ConfigError(f"the tool {point.name!r} of {source} cannot be loaded: {error}") from error
        if not isinstance(tool, BaseTool):
            raise ConfigError(f"the entry point {point.name!r} of {source} is not a LangChain tool: {point.value}")
        if tool.name != point.name:
            raise ConfigError(f"the entry point {point.name!r} of {source} gives a tool named otherwise: {tool.name!r}")
        return tool

    return _Source(source, load)
