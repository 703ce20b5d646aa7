"""Where tools are found, and what happens when they are not, or twice."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from pointsman.configs.errors import ConfigError
from pointsman.configs.words import Effect
from pointsman.tools import McpServer, ToolRegistry, Workspace, effect_of, registry, tool

BUILT_IN = ["edit_file", "list_files", "read_file", "read_image", "run_shell", "search_files", "write_file"]
Writer = Callable[[str, str], None]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Write an importable module that is forgotten afterwards."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def write(name: str, source: str) -> None:
        (site / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setitem(sys.modules, name, None)  # so that it is taken out again, whoever imports it
        del sys.modules[name]

    return write


@pytest.fixture
def plugin(module: Writer, tmp_path: Path) -> Callable[[str, str, str], None]:
    """Install a distribution with one tool in the entry-point group."""

    def install(distribution: str, entry: str, source: str) -> None:
        name = entry.partition("=")[2].strip().partition(":")[0]
        module(name, source)
        info = tmp_path / "site" / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[pointsman.tools]\n{entry}\n")

    return install


LOOKUP = """
    from pointsman.tools import tool

    @tool(effect="external", target="city")
    def look_up(city: str) -> str:
        '''Look up the weather.'''
        return f"sunny in {city}"
"""


def test_built_in_tools_are_there_with_a_workspace_only(tmp_path: Path) -> None:
    assert ToolRegistry(Workspace(tmp_path), plugins=False).names() == BUILT_IN
    assert set(BUILT_IN) <= set(ToolRegistry.for_workspace(tmp_path).names())
    bare = ToolRegistry(plugins=False)
    assert bare.names() == []
    with pytest.raises(ConfigError, match="'run_shell': it is built in, but needs a workspace"):
        bare.get("run_shell")


def test_every_built_in_tool_can_be_had_once(tmp_path: Path) -> None:
    found = ToolRegistry(Workspace(tmp_path), plugins=False)
    for name in BUILT_IN:
        assert found.get(name).name == name
        assert found.get(name) is found.get(name)


def test_an_unknown_name_gives_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no tool 'raed_file'; did you mean 'read_file'\?"):
        ToolRegistry(Workspace(tmp_path), plugins=False).get("raed_file")
    with pytest.raises(ConfigError, match="there is no tool 'x'; there are none at all"):
        ToolRegistry(plugins=False).get("x")


def test_tools_of_the_users_modules_are_found_once_however_often_they_are_imported(module: Writer) -> None:
    module("weather_tools", LOOKUP + "\n    alias = look_up\n")
    module("more_tools", "from weather_tools import look_up\n")
    found = ToolRegistry(modules=["weather_tools"], plugins=False)
    assert "weather_tools" not in sys.modules
    assert found.names() == ["look_up"]
    assert found.get("look_up").invoke({"city": "Bonn"}) == "sunny in Bonn"
    assert effect_of(found.get("look_up")) is Effect.EXTERNAL


def test_a_module_that_is_not_there_is_the_users_mistake_but_what_it_lacks_is_its_own(module: Writer) -> None:
    module("lacking_tools", "import a_module_that_is_not_installed")
    with pytest.raises(ConfigError, match=r"there is no module 'absent_tools\.sub'"):
        ToolRegistry(modules=["absent_tools.sub"], plugins=False).names()
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_installed"):
        ToolRegistry(modules=["lacking_tools"], plugins=False).names()


def test_a_tool_of_an_installed_distribution_is_found_and_loaded_when_asked_for(
    plugin: Callable[[str, str, str], None],
) -> None:
    plugin("weather-plugin", "look_up = weather_plugin:look_up", LOOKUP)
    found = ToolRegistry()
    assert "look_up" in found.names()
    assert "weather_plugin" not in sys.modules
    assert found.get("look_up").invoke({"city": "Bonn"}) == "sunny in Bonn"
    assert "look_up" not in ToolRegistry(plugins=False).names()


@pytest.mark.parametrize(
    ("entry", "source", "reason"),
    [
        ("look_up = broken_plugin:look_up", "raise RuntimeError('half installed')", "cannot be loaded: half installed"),
        ("look_up = broken_plugin:look_up", "look_up = 3", "is not a LangChain tool"),
        ("lookup = broken_plugin:look_up", LOOKUP, "named otherwise: 'look_up'"),
    ],
)
def test_a_broken_plugin_is_named(
    plugin: Callable[[str, str, str], None], entry: str, source: str, reason: str
) -> None:
    plugin("broken-plugin", entry, source)
    with pytest.raises(ConfigError, match=f"of the distribution 'broken-plugin'.*{reason}"):
        ToolRegistry().get(entry.partition(" ")[0])


def test_two_tools_of_one_name_are_refused_naming_both_sources(
    module: Writer, plugin: Callable[[str, str, str], None], tmp_path: Path
) -> None:
    plugin("weather-plugin", "look_up = weather_plugin:look_up", LOOKUP)
    module("own_tools", LOOKUP)
    with pytest.raises(
        ConfigError, match="called 'look_up': one of the module own_tools, one of the distribution 'weather-plugin'"
    ):
        ToolRegistry(modules=["own_tools"]).names()


def test_added_tools_are_found_and_clash_like_any_other(tmp_path: Path) -> None:
    def read_file() -> str:
        """Read."""
        return ""

    def recall() -> str:
        """Recall."""
        return "it"

    found = ToolRegistry(Workspace(tmp_path), plugins=False)
    found.add([tool(recall, effect="read")], source="the memory")
    assert found.get("recall").invoke({}) == "it"
    with pytest.raises(ConfigError, match="'read_file': one of Pointsman itself, one of the memory"):
        found.add([tool(recall, name="fine", effect="read"), tool(read_file, effect="read")], source="the memory")
    assert "fine" not in found.names()
    early = ToolRegistry(Workspace(tmp_path), plugins=False)
    early.add([tool(read_file, effect="read")], source="the memory")
    with pytest.raises(ConfigError, match="two tools are called 'read_file'"):
        early.names()


async def test_without_the_extra_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_mcp_adapters.client", None)
    found = ToolRegistry(plugins=False, mcp={"files": McpServer({"transport": "stdio", "command": "x", "args": []})})
    with pytest.raises(ConfigError, match="not been asked yet"):
        found.get("anything")
    with pytest.raises(ConfigError, match=r"the MCP server 'files'.*pip install 'pointsman\[mcp\]'"):
        await found.connect()


def test_a_server_never_shows_its_connection() -> None:
    assert "sk-secret" not in repr(McpServer({"headers": {"Authorization": "sk-secret"}}))


SERVER = """
    from mcp.server.fastmcp import FastMCP
    from mcp.types import ToolAnnotations

    server = FastMCP("weather")

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True, pointsman={"effect": "read", "reversible": True}))
    def wipe(path: str) -> str:
        '''Wipe a path.'''
        return f"wiped {path}"

    @server.tool()
    def forecast(city: str) -> str:
        '''Tell the weather.'''
        return f"rain in {city}"

    server.run()
"""


@pytest.fixture
def weather(tmp_path: Path) -> dict[str, object]:
    pytest.importorskip("langchain_mcp_adapters")
    script = tmp_path / "weather_server.py"
    script.write_text(textwrap.dedent(SERVER))
    # The server is a process of its own; it finds its libraries where this one does.
    search_path = ":".join(filter(None, sys.path))
    return {
        "transport": "stdio",
        "command": sys.executable,
        "args": [str(script)],
        "env": {"PYTHONPATH": search_path},
    }


async def test_mcp_tools_are_destructive_unless_the_user_says_otherwise(weather: dict[str, object]) -> None:
    found = ToolRegistry(plugins=False, mcp={"weather": McpServer(weather, effects={"forecast": "external"})})
    await found.connect()
    await found.connect()
    assert found.names() == ["forecast", "wipe"]
    assert effect_of(found.get("forecast")) is Effect.EXTERNAL
    assert effect_of(found.get("wipe")) is Effect.DESTRUCTIVE  # whatever the server says about it
    assert "rain in Bonn" in str(await found.get("forecast").ainvoke({"city": "Bonn"}))


async def test_an_effect_for_a_tool_the_server_lacks_is_refused(weather: dict[str, object]) -> None:
    found = ToolRegistry(plugins=False, mcp={"weather": McpServer(weather, effects={"forcast": "read"})})
    with pytest.raises(ConfigError, match="has no tool 'forcast' to declare an effect of; did you mean 'forecast'"):
        await found.connect()


async def test_a_clash_between_servers_takes_none_of_their_tools(weather: dict[str, object]) -> None:
    found = ToolRegistry(plugins=False, mcp={"one": McpServer(weather), "two": McpServer(weather)})
    assert found.names() == []
    with pytest.raises(ConfigError, match="one of the MCP server 'one', one of the MCP server 'two'"):
        await found.connect()
    assert found.names() == []


async def test_a_server_that_cannot_be_started_is_named_without_its_secrets() -> None:
    pytest.importorskip("langchain_mcp_adapters")
    connection = {"transport": "stdio", "command": "/no/such/server", "args": ["--token", "sk-secret"]}
    with pytest.raises(ConfigError, match="the MCP server 'files' cannot list its tools: ") as refused:
        await ToolRegistry(plugins=False, mcp={"files": McpServer(connection)}).connect()
    assert "sk-secret" not in str(refused.value)


def test_the_group_is_the_documented_one() -> None:
    assert registry.ENTRY_POINTS == "pointsman.tools"
