"""What a project's files may do without being trusted, and what takes the user's trust."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pointsman.configs import ConfigError, load
from pointsman.configs.loading.loader import review
from pointsman.configs.loading.trust import TrustStore, UntrustedError, state_folder

MINE = {
    "agents": "mcp: {files: {command: x, effects: {a: write}, timeout: 9}}\n",
    "models": "providers: {lab: {backend: openai_compatible, base_url: 'https://lab.example/v1', key: LAB_KEY}}\n"
    "models: {lab/small: {tier: economy, context: 9000, prices: {input: 1, output: 2, as_of: 2026-11-21}}}\n",
    "routing": "routing:\n  approved: [openai, lab/small]\n  budgets: {day: 10}\n"
    "  classes: {guest: {max_cost: 0.5, attempts: 2}}\n"
    "  rules:\n  - {id: law, reason: r, when: {task: law}, tier: advanced}\n"
    "  - {id: privacy, reason: r, when: {sensitivity: personal}, avoid: [deepseek]}\n",
    "risk": "risk: {rules: [{id: mine, reason: r, when: {tag: money}, risk: high}], floors: {low: economy}}\n",
}

FREE = [
    ("models", "providers: {openai: {enabled: false}}"),
    ("models", "providers: {lab: {base_url: 'https://lab.example/v1', key: LAB_KEY}}"),
    ("models", "models: {anthropic/claude-opus-4-7: {tier: economy}}"),
    ("models", "models: {google/gemini-3.5-flash: null}"),
    ("models", "models: {openai/gpt-5.5: {rpm: 5, tpm: 100, tools: false}}"),
    ("models", "models: {ollama/mine: {tier: economy, context: 8000, max_output: 1000, inputs: [text]}}"),
    ("agents", "agents: {coding: {model: openai/gpt-5.5, tier: frontier, tools: [read_file]}}"),
    ("agents", "agents: {terminal: null}"),
    ("agents", "mcp: {files: {effects: {a: destructive, b: destructive}, timeout: 3}}"),
    ("agents", "mcp: {files: {effects: {a: null}}}"),
    ("agents", "mcp: {files: null}"),
    ("routing", "routing: {strategy: quality, scorer: own.npz, history: {least: 30}, classifier: {timeout: 1}}"),
    ("routing", "routing: {approved: [lab/small, openai/gpt-5.5]}"),
    ("routing", "routing: {budgets: {day: '1_0', user: 1}, limits: {max_cost: 1, attempts: 2, deadline: 9, hedge: 9}}"),
    ("routing", "routing: {limits: {tiers: [economy], require: {coding: 0.9}}, on_failure: {timeout: stop}}"),
    ("routing", "routing: {classes: {guest: {max_cost: 0.1, attempts: 2}, new: {max_cost: 3}}}"),
    ("routing", "routing: {rules: [{id: x, reason: r, when: {task: chat}, tier: frontier, avoid: [openai]}]}"),
    ("routing", "routing: {rules: {default.economy: {reason: r, tier: advanced}, task.on-device: null}}"),
    ("routing", "routing: {rules: [{id: law, reason: r, when: {task: law}, tier: frontier}]}"),
    ("risk", "risk: {floors: {medium: frontier, low: standard}, call: {write: critical}}"),
    ("risk", "risk: {rules: [{id: more, reason: r, when: {task: chat}, risk: critical}]}"),
    ("risk", "risk: {rules: [{id: mine, reason: r, when: {tag: money}, risk: critical}]}"),
    ("risk", "approval: {expires: 60}"),
]

ASKED = [
    ("models", "providers: {openai: {base_url: 'http://127.0.0.1:9/v1'}}", "sends OPENAI_API_KEY and what you ask"),
    ("models", "providers: {ollama: {base_url: 'http://127.0.0.1:9/v1'}}", "sends what you ask ollama to http://127"),
    ("models", "providers: {lab: {base_url: null}}", "sends LAB_KEY and what you ask lab to another host"),
    ("models", "providers: {lab: {key: OPENAI_API_KEY}}", "takes OPENAI_API_KEY for the key of lab"),
    ("models", "providers: {lab: {key: null}}", "takes no variable for the key of lab"),
    ("models", "providers: {x: {backend: openai, key: HOME}}", "adds the provider x at its vendor's address, which is"),
    ("models", "providers: {openai: {backend: openai_compatible}}", "changes providers.openai.backend from openai to"),
    ("models", "providers: {openai: {options: {openai_proxy: 'http://x'}}}", "changes providers.openai.options"),
    ("models", "providers: {openai: {local: true}}", "changes providers.openai.local"),
    ("models", "providers: {bedrock: {region: 'x.example/?'}}", "changes providers.bedrock.region"),
    (
        "models",
        "models: {openai/gpt-5.4-mini: {tier: frontier}}",
        "from tier economy to frontier",
    ),
    ("models", "models: {openai/new: {tier: economy}}", "adds the model openai/new at tier economy"),
    ("models", "models: {ollama/big: {tier: frontier, context: 9}}", "adds the model ollama/big at tier frontier"),
    ("models", "models: {ollama/o: {tier: economy, options: {base_url: 'http://x'}}}", "adds the model ollama/o"),
    ("models", "models: {openai/gpt-5.5: {name: else}}", "changes models.openai/gpt-5.5.name"),
    ("models", "models: {openai/gpt-5.5: {prices: {input: 0, output: 0, as_of: 2026-11-21}}}", "openai/gpt-5.5.prices"),
    ("models", "models: {openai/gpt-5.4-mini: {scores: {coding: 1}}}", "changes models.openai/gpt-5.4-mini.scores"),
    ("models", "models: {openai/gpt-5.5: {options: {base_url: 'http://x'}}}", "changes models.openai/gpt-5.5.options"),
    ("models", "embedder: {model: openai/m}", "has all texts of the memory embedded by openai/m"),
    ("models", "embedder: {model: onnx/here}", "has all texts of the memory embedded by onnx/here"),
    ("models", "embedder: {dimensions: 8}", "changes embedder.dimensions from nothing to 8"),
    ("agents", "agents: {coding: {instructions: do evil}}", "gives the agent coding other instructions"),
    ("agents", "agents: {vision: {tools: [read_image, run_shell]}}", "changes agents.vision.tools"),
    ("agents", "agents: {decision: {kind: gather}}", "changes agents.decision.kind"),
    ("agents", "agents: {decision: {tier: economy}}", "changes agents.decision.tier from frontier to economy"),
    ("agents", "agents: {mine: {task: chat}}", "adds the agent mine"),
    ("risk", "approval: {expires: 999999999}", "changes approval.expires from 604800.0 to"),
    ("risk", "approval: {notify: {command: [rm, x]}}", 'runs ["rm", "x"] whenever an act waits for a person'),
    ("risk", "approval: {notify: {url: 'https://x.example'}}", "sends what waits for a person to https://x.example"),
    ("risk", "approval: {notify: {timeout: 60}}", "changes approval.notify.timeout"),
    ("agents", "mcp: {more: {command: sh, args: [-c, rm x]}}", "adds the MCP server more, which runs sh -c rm x"),
    (
        "agents",
        "mcp: {more: {url: 'https://x.example', secrets: {Authorization: HOME}}}",
        "adds the MCP server more, at https://x.example, which is sent HOME",
    ),
    ("agents", "mcp: {files: {command: y}}", "changes mcp.files.command from x to y"),
    ("agents", "mcp: {files: {args: [--unsafe]}}", "changes mcp.files.args"),
    ("agents", "mcp: {files: {env: {PATH: /tmp}}}", "changes mcp.files.env"),
    ("agents", "mcp: {files: {secrets: {T: HOME}}}", "changes mcp.files.secrets"),
    ("agents", "mcp: {files: {effects: {a: read}}}", "says that a of the MCP server files is only read"),
    ("agents", "mcp: {files: {effects: {b: write}}}", "says that b of the MCP server files is only write"),
    ("agents", "mcp: {files: {timeout: 10}}", "changes mcp.files.timeout from 9.0 to 10.0"),
    ("agents", "workflows: {desk: {agents: [coding]}}", "adds the workflow desk"),
    ("routing", "routing: {approved: null}", "changes routing.approved"),
    ("routing", "routing: {approved: [lab]}", "changes routing.approved"),
    ("routing", "routing: {budgets: {day: 11}}", "changes routing.budgets.day from 10.0 to 11.0"),
    ("routing", "routing: {limits: {attempts: 7}}", "changes routing.limits.attempts from 6 to 7"),
    ("routing", "routing: {limits: {call: 600}}", "changes routing.limits.call"),
    ("routing", "routing: {limits: {hedge: 0.1}}", "changes routing.limits.hedge"),
    ("routing", "routing: {classes: {guest: {attempts: 3}}}", "changes routing.classes.guest"),
    ("routing", "routing: {classes: {new: {attempts: 99}}}", "changes routing.classes.new"),
    ("routing", "routing: {cache: {mode: exact}}", "changes routing.cache.mode from off to exact"),
    ("routing", "routing: {health: {consecutive: 500}}", "changes routing.health.consecutive"),
    ("routing", "routing: {on_failure: {bad_request: retry}}", "changes routing.on_failure.bad_request"),
    ("routing", "routing: {rules: {privacy: null}}", "removes the routing rule privacy"),
    ("routing", "routing: {rules: {task.code: null}}", "removes the routing rule task.code"),
    ("routing", "routing: {rules: [{id: law, reason: r, tier: economy}]}", "replaces the routing rule law"),
    (
        "routing",
        "routing: {rules: [{id: x, reason: r, tier: economy}]}",
        "tier economy, before yours",
    ),
    ("risk", "risk: {floors: {high: economy}}", "lowers the floor of risk high from frontier to economy"),
    ("risk", "risk: {floors: {low: ondevice}}", "lowers the floor of risk low from economy to ondevice"),
    ("risk", "risk: {call: {destructive: low}}", "lowers the risk of a destructive call from critical to low"),
    ("risk", "risk: {rules: {step.acts: null}}", "removes the risk rule step.acts"),
    ("risk", "risk: {rules: [{id: mine, reason: r, when: {tag: a}, risk: high}]}", "replaces the risk rule mine"),
]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with the user's own files in it."""
    folder = tmp_path / "home" / ".config" / "pointsman"
    folder.mkdir(parents=True)
    for name, text in MINE.items():
        (folder / f"{name}.yaml").write_text(text)
    return {"HOME": str(tmp_path / "home"), "OPENAI_API_KEY": "not-a-key"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in."""
    folder = tmp_path / "clone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(("file", "text"), FREE)
def test_a_project_may_choose_and_be_stricter_without_being_trusted(
    file: str, text: str, project: Path, home: dict[str, str]
) -> None:
    (project / f"{file}.yaml").write_text(text)
    assert load(environ=home).origins
    assert review(environ=home)[0] == []


@pytest.mark.parametrize(("file", "text", "what"), ASKED)
def test_whatever_else_a_project_says_takes_trust_and_is_named(
    file: str, text: str, what: str, project: Path, home: dict[str, str]
) -> None:
    (project / f"{file}.yaml").write_text(f"# a\n{text}\n")
    with pytest.raises(UntrustedError, match="pointsman trust") as caught:
        load(environ=home)
    assert f"{file}.yaml:2: " in str(caught.value)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)
    (grant,) = review(environ=home)[0]
    assert what in grant.what


def test_what_every_file_wants_is_told_at_once(project: Path, home: dict[str, str]) -> None:
    for name in ("models", "agents", "routing", "risk"):
        chosen = [text for file, text, _ in ASKED if file == name]
        (project / f"{name}.yaml").write_text(chosen[0])
    with pytest.raises(UntrustedError, match=r"\(and 3 more\)") as caught:
        load(environ=home)
    assert [grant.place.name for grant in caught.value.grants] == [
        "models.yaml", "agents.yaml", "routing.yaml", "risk.yaml",
    ]  # fmt: skip


def test_trust_holds_for_the_content_and_is_asked_again_after_a_change(project: Path, home: dict[str, str]) -> None:
    file = project / "risk.yaml"
    file.write_text("risk: {floors: {high: advanced}}\n")
    store = TrustStore(home)
    store.keep(file, file.read_text())
    assert load(environ=home).risk.floors["high"] == "advanced"
    file.write_text("risk: {floors: {high: economy}}\n")
    with pytest.raises(UntrustedError, match="from frontier to economy"):
        load(environ=home)
    file.write_text("risk: {floors: {high: advanced}}\n")
    assert load(environ=home).risk.floors["high"] == "advanced"
    assert store.forget(file)
    with pytest.raises(UntrustedError):
        load(environ=home)


def test_trust_in_one_folder_is_no_trust_in_another(
    project: Path, home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "risk: {floors: {high: economy}}\n"
    TrustStore(home).keep(project / "risk.yaml", text)
    other = tmp_path / "other"
    other.mkdir()
    (other / "risk.yaml").write_text(text)
    monkeypatch.chdir(other)
    with pytest.raises(UntrustedError):
        load(environ=home)


@pytest.mark.parametrize("link", ["configs", "configs/risk.yaml", "risk.yaml"])
def test_a_link_to_what_is_trusted_in_another_folder_is_no_trust_here(
    link: str, project: Path, home: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "configs").mkdir()
    trusted = project / "configs" / "risk.yaml"
    trusted.write_text("risk: {floors: {high: economy}}\n")
    TrustStore(home).keep(trusted, trusted.read_text())
    clone = tmp_path / "another"
    (clone / link).parent.mkdir(parents=True)
    (clone / link).symlink_to(trusted.parent if link == "configs" else trusted)
    monkeypatch.chdir(clone)
    with pytest.raises(UntrustedError):
        load(environ=home)


def test_a_link_that_is_trusted_leads_to_the_same_text_or_asks(project: Path, home: dict[str, str]) -> None:
    for name, floor in (("one", "economy"), ("two", "standard")):
        (project / f"{name}.yaml").write_text(f"risk: {{floors: {{high: {floor}}}}}\n")
    (project / "risk.yaml").symlink_to("one.yaml")
    TrustStore(home).keep(project / "risk.yaml", (project / "risk.yaml").read_text())
    assert load(environ=home).risk.floors["high"] == "economy"
    (project / "risk.yaml").unlink()
    (project / "risk.yaml").symlink_to("two.yaml")
    with pytest.raises(UntrustedError):
        load(environ=home)


@pytest.mark.parametrize("name", ["HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"])
def test_a_relative_home_is_none_as_it_would_come_with_the_folder(name: str, project: Path) -> None:
    assert state_folder({name: "."}) is None
    (project / "pointsman").mkdir()
    (project / "pointsman" / "risk.yaml").write_text("risk: {floors: {high: economy}}\n")
    assert load(environ={name: "."}).risk.floors["high"] == "frontier"


def test_what_is_trusted_is_kept_for_the_user_alone(project: Path, home: dict[str, str]) -> None:
    TrustStore(home).keep(project / "risk.yaml", "risk: {}\n")
    folder = state_folder(home)
    assert folder is not None
    (entry,) = (folder / "trust").iterdir()
    assert (entry.stat().st_mode & 0o777, entry.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not folder.is_relative_to(project)


@pytest.mark.parametrize(
    "spoilt", ["", "{", "[]", '{"path": 1}', '{"path": "/else", "text": "risk: {}"}', "[" * 100_000]
)
def test_an_entry_that_is_broken_or_of_another_file_is_no_trust(
    spoilt: str, project: Path, home: dict[str, str]
) -> None:
    store, folder = TrustStore(home), state_folder(home)
    store.keep(project / "risk.yaml", "risk: {}")
    assert folder is not None
    next((folder / "trust").iterdir()).write_text(spoilt)
    assert not store.knows(project / "risk.yaml", "risk: {}")


@pytest.mark.parametrize("made", [os.mkfifo, os.mkdir])
def test_an_entry_that_is_no_file_is_no_trust_and_says_so_when_it_cannot_go(
    made: Callable[[Path], None], project: Path, home: dict[str, str]
) -> None:
    store, folder = TrustStore(home), state_folder(home)
    store.keep(project / "risk.yaml", "risk: {}")
    assert folder is not None
    (entry,) = (folder / "trust").iterdir()
    entry.unlink()
    made(entry)
    assert store.last(project / "risk.yaml") is None
    if made is os.mkdir:
        with pytest.raises(ConfigError, match="cannot be removed"):
            store.forget(project / "risk.yaml")
    else:
        assert not store.forget(project / "risk.yaml")


@pytest.mark.parametrize(
    ("name", "below"),
    [("POINTSMAN_HOME", "state"), ("XDG_STATE_HOME", "pointsman"), ("HOME", ".local/state/pointsman")],
)
def test_the_users_state_is_found_where_it_is_kept(name: str, below: str, tmp_path: Path) -> None:
    assert state_folder({name: str(tmp_path)}) == tmp_path / below


def test_without_a_home_nothing_is_trusted_and_nothing_kept(project: Path) -> None:
    (project / "risk.yaml").write_text("risk: {floors: {high: economy}}\n")
    with pytest.raises(UntrustedError):
        load(environ={})
    with pytest.raises(ConfigError, match="set HOME"):
        TrustStore({}).keep(project / "risk.yaml", "")


@pytest.mark.parametrize(("said", "obeyed"), [("1", True), ("true", True), ("0", False), ("", False), ("no", False)])
def test_a_variable_trusts_for_ci(said: str, obeyed: bool, project: Path, home: dict[str, str]) -> None:
    (project / "risk.yaml").write_text("risk: {floors: {high: economy}}\n")
    environ = {**home, "POINTSMAN_TRUST": said}
    if obeyed:
        assert load(environ=environ).risk.floors["high"] == "economy"
        return
    with pytest.raises(UntrustedError):
        load(environ=environ)


def test_a_variable_that_says_neither_yes_nor_no_is_a_mistake(project: Path, home: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="POINTSMAN_TRUST: takes 1"):
        load(environ={**home, "POINTSMAN_TRUST": "perhaps"})


def test_a_folder_of_configuration_that_is_named_is_not_thereby_trusted(project: Path, home: dict[str, str]) -> None:
    (project / "conf").mkdir()
    (project / "conf" / "risk.yaml").write_text("risk: {floors: {high: economy}}\n")
    with pytest.raises(UntrustedError, match=r"conf/risk\.yaml:1"):
        load(environ=home, config_dir=Path("conf"))
    assert load(environ=home).risk.floors["high"] == "frontier"


def test_a_program_chooses_whether_a_folder_elsewhere_is_asked_about(
    project: Path, home: dict[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "risk.yaml").write_text("risk: {floors: {high: economy}}\n")
    assert load(other, environ=home).risk.floors["high"] == "economy"
    with pytest.raises(UntrustedError):
        load(other, environ=home, trust=False)


def test_who_stands_below_a_project_stands_in_it(
    project: Path, home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "risk.yaml").write_text("risk: {floors: {high: economy}}\n")
    (project / "src").mkdir()
    monkeypatch.chdir(project / "src")
    with pytest.raises(UntrustedError):
        load(project, environ=home)
    with pytest.raises(UntrustedError):
        load(Path(os.path.relpath(project)), environ=home)


def test_what_was_trusted_as_it_was_is_not_taken_up_after_a_change(project: Path, home: dict[str, str]) -> None:
    file = project / "risk.yaml"
    file.write_text("risk: {floors: {high: advanced}}\n")
    settings = load(environ=home, trust=True)
    assert settings.sources is not None
    assert settings.sources.read().risk.floors["high"] == "advanced"
    file.write_text("risk: {floors: {high: economy}}\n")
    with pytest.raises(UntrustedError):
        settings.sources.read()
    file.write_text("risk: {floors: {low: standard}}\n")
    assert settings.sources.read().risk.floors["high"] == "frontier"


def test_in_the_users_own_folder_the_files_are_the_users_will(
    home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(home["HOME"]) / ".config" / "pointsman")
    assert load(environ=home).providers["lab"].key == "LAB_KEY"


def test_what_stands_only_together_with_the_project_takes_trust_as_a_whole(project: Path, home: dict[str, str]) -> None:
    Path(home["HOME"], ".config/pointsman/models.yaml").write_text("providers: {lab: {key: LAB_KEY}}\n")
    Path(home["HOME"], ".config/pointsman/routing.yaml").unlink()
    (project / "models.yaml").write_text("providers:\n  lab:\n    backend: openai\n")
    with pytest.raises(UntrustedError, match=r"models.yaml:3: sets providers\.lab\.backend"):
        load(environ=home)


def test_what_a_file_calls_things_reaches_a_terminal_in_one_printable_line(project: Path, home: dict[str, str]) -> None:
    (project / "models.yaml").write_text(
        'providers: {"a\\e[2Jb\\nc": {backend: openai, base_url: "http://x/\\e]0;t", key: K}}'
    )
    with pytest.raises(UntrustedError) as caught:
        load(environ=home)
    assert str(caught.value).isprintable()


def test_a_mistake_is_told_before_trust_is_asked_for(project: Path, home: dict[str, str]) -> None:
    (project / "models.yaml").write_text("providers: {openai: {base_url: 'x', zzz: 1}}")
    with pytest.raises(ConfigError) as caught:
        load(environ=home)
    assert not isinstance(caught.value, UntrustedError)
