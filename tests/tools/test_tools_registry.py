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
from pointsman.tools import McpServer, McpServers, ToolRegistry, Workspace, effect_of, registry, tool

BUILT_IN = [
    "apply_patch", "edit_file", "list_files", "read_document", "read_file", "read_image", "run_shell", "search_files",
    "write_file",
]  # fmt: skip
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


def test_without_the_extra_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    monkeypatch.delitem(sys.modules, "pointsman.tools.mcp.connection", raising=False)
    servers = McpServers({"files": McpServer(command="x")})
    told = pytest.raises(ConfigError, match=r"the MCP server 'files'.*pip install 'pointsman\[mcp\]'")
    with ToolRegistry(plugins=False, mcp=servers) as found, told:
        found.get("mcp__files__read")
    with pytest.raises(
        ConfigError, match=r"there is no tool 'mcp__files__read': no MCP server is configured, under mcp"
    ):
        ToolRegistry(plugins=False).get("mcp__files__read")


def test_a_server_never_shows_what_is_handed_to_it() -> None:
    entry = McpServer(command="x", args=("--token", "sk-secret"), env={"KEY": "sk-secret"})
    away = McpServer(url="https://example.com", headers={"Authorization": "sk-secret"})
    assert "sk-secret" not in f"{entry!r} {away!r} {entry} {away}"


def test_the_group_is_the_documented_one() -> None:
    assert registry.ENTRY_POINTS == "pointsman.tools"
