"""Every mistake in the settings: one line, with its file and line, and the nearest name."""

from __future__ import annotations

import copy
import importlib.resources
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pointsman.configs import ConfigError, load

RULE = "risk:\n  rules:\n  - id: mine\n    reason: r\n    risk: high\n    when:\n      "
ROUTE = "routing:\n  rules:\n  - id: mine\n    reason: r\n    "

MISTAKES: list[tuple[str, str, str]] = [
    # Unknown keys
    ("models", "providers:\n  openai:\n    base_ur: http://x\n",
     "configs/models.yaml:3: unknown key 'base_ur' in providers.openai; did you mean 'base_url'?"),
    ("models", "providers:\n  openai:\n    zzz: 1\n", "configs/models.yaml:3: unknown key 'zzz' in providers.openai"),
    ("models", "provider: {}\n",
     "configs/models.yaml:1: unknown key 'provider' in models.yaml; did you mean 'providers'?"),
    ("models", "models: {}\nrouting: {}\n", "configs/models.yaml:2: 'routing' belongs in routing.yaml"),
    ("risk", "agents: {}\n", "configs/risk.yaml:1: 'agents' belongs in agents.yaml"),
    ("models", "models:\n  openai/gpt-5.5:\n    prices: {input: 1, output: 1, asof: 2026-01-01}\n",
     "configs/models.yaml:3: unknown key 'asof' in models.openai/gpt-5.5.prices; did you mean 'as_of'?"),
    ("routing", "routing:\n  limits:\n    max_costs: 3\n",
     "configs/routing.yaml:3: unknown key 'max_costs' in routing.limits; did you mean 'max_cost'?"),
    ("routing", "routing:\n  rules:\n  - id: a\n    rason: r\n",
     "configs/routing.yaml:4: unknown key 'rason' in routing.rules[a]; did you mean 'reason'?"),
    ("routing", "routing:\n  on_failure:\n    timeot: next\n",
     "configs/routing.yaml:3: unknown key 'timeot' in routing.on_failure is not one of rate_limit"),
    ("risk", "risk:\n  floors:\n    hihg: frontier\n", "unknown key 'hihg' in risk.floors is not one of"),
    # Servers
    ("agents", "mcp:\n  files: {comand: x}\n",
     "configs/agents.yaml:2: unknown key 'comand' in mcp.files; did you mean 'command'?"),
    *[("agents", f"mcp:\n  {text}\n", f"configs/agents.yaml:2: {said}") for text, said in (
        ("files: {}", "mcp.files needs either 'command' or 'url'"),
        ("files: {url: 'http://mcp.example'}", "mcp.files needs an https:// url beyond this machine, or plain_http"),
        ("files: {url: 'https://bob@mcp.example'}", "mcp.files must have no user name or password in its url"),
        ("files: {url: 'ftp://mcp.example'}", "mcp.files needs a url that begins with https:// or http://"),
        ("files: {command: x, headers: {a: b}}", "mcp.files has 'headers' and 'plain_http' only with 'url'"),
        ("files: {url: 'https://mcp.example', args: [x]}", "mcp.files has 'args' and 'env' only with 'command'"),
        ("files: {command: x, effects: {a: raed}}", "mcp.files.effects.a: 'raed' is not one of read, write, external"),
        ("files: {command: x, timeout: true}", "mcp.files.timeout must be a number of seconds, not true or false"),
        ("my__files: {command: x}", "mcp.my__files must be called by at most 32 letters, digits, and single '-' or"),
        ("files: {command: x, secrets: {T: OPENAI_API_KEY}}",
         "mcp.files.secrets.T: OPENAI_API_KEY is the key of openai, which only openai is sent; name another variable"),
    )],
    # Missing keys
    ("models", "models:\n  openai/new:\n    roles: [chat]\n", "configs/models.yaml:2: models.openai/new lacks 'tier'"),
    ("models", "providers:\n  mine: {}\n", "configs/models.yaml:2: providers.mine lacks 'backend'"),
    ("risk", "risk:\n  rules:\n  - {id: a, reason: r, risk: high}\n",
     "configs/risk.yaml:3: risk.rules[a] lacks 'when'"),
    # Money and floors
    *[(name, f"{text}\n", f"configs/{name}.yaml:{text.count(chr(10)) + 1}: {said}") for name, text, said in (
        ("routing", "routing: {budgets: {day: .inf}}",
         "routing.budgets.day must be a finite number; write USD, or leave it out for no cap"),
        ("routing", "routing:\n  budgets: {'tag:x': -.inf}", "routing.budgets.tag:x must be a finite number"),
        ("routing", "routing: {budgets: {user: -1}}",
         "routing.budgets.user must be greater than or equal to 0; write USD"),
        ("routing", "routing: {budgets: {day: .nan}}", "not-a-number is not a value; write a number, or leave it out"),
        ("routing", "routing: {limits: {max_cost: .inf}}", "routing.limits.max_cost must be a finite number"),
        ("routing", "routing: {limits: {deadline: .inf}}", "routing.limits.deadline must be a finite number"),
        ("routing", "routing: {limits: {deadline: true}}",
         "routing.limits.deadline must be a number, not true or false"),
        ("routing", "routing: {limits: {attempts: true}}",
         "routing.limits.attempts must be a number, not true or false"),
        ("routing", "routing: {budgets: {day: true}}", "routing.budgets.day must be a number, not true or false"),
        ("models", "models:\n  openai/gpt-5.5:\n    prices: {input: 1.0e30, output: 1, as_of: 2026-01-01}",
         "models.openai/gpt-5.5.prices.input must be less than or equal to 1000000"),
        ("models", "models:\n  openai/gpt-5.5:\n    prices: {input: true, output: 1, as_of: 2026-01-01}",
         "models.openai/gpt-5.5.prices.input must be a number, not true or false"),
        ("routing", "routing:\n  classes:\n    free: {max_cost: .inf}",
         "routing.classes.free.max_cost must be a finite number; write USD"),
        ("models", "models:\n  openai/gpt-5.5:\n    prices: {input: .inf, output: 1, as_of: 2026-01-01}",
         "models.openai/gpt-5.5.prices.input must be a finite number; where a price is not known leave out `prices`"),
        ("models", "models:\n  openai/gpt-5.5:\n    prices: {input: 1, output: -1, as_of: 2026-01-01}",
         "models.openai/gpt-5.5.prices.output must be greater than or equal to 0; where a price is not known"),
        ("models", "models:\n  openai/gpt-5.5:\n    prices: {input: 1, output: 1, service_tiers: {flex: .inf}, "
         "as_of: 2026-01-01}", "models.openai/gpt-5.5.prices.service_tiers.flex must be a finite number"),
        ("risk", "risk: {floors: {high: null}}",
         "risk.floors.high: null would take a bound away; name the tier below which such a step may not run"),
        ("risk", "risk:\n  floors:\n    medium: ~", "risk.floors.medium: null would take a bound away"),
        ("risk", "risk: {floors: null}", "risk lacks 'floors'"),
    )],
    # Types and ranges
    ("models", "models:\n  openai/gpt-5.5:\n    context: lots\n",
     "configs/models.yaml:3: models.openai/gpt-5.5.context must be a whole number"),
    ("models", "models:\n  openai/gpt-5.5:\n    context: -1\n",
     "configs/models.yaml:3: models.openai/gpt-5.5.context must be greater than 0"),
    ("models", "models:\n  openai/gpt-5.5:\n    scores:\n      coding: 1.5\n",
     "configs/models.yaml:4: models.openai/gpt-5.5.scores.coding must be less than or equal to 1"),
    ("models", "models:\n  openai/gpt-5.5:\n    tools: maybe\n",
     "configs/models.yaml:3: models.openai/gpt-5.5.tools must be true or false"),
    ("models", "models:\n  openai/gpt-5.5:\n    roles:\n    - chat\n    - 7\n",
     "configs/models.yaml:5: models.openai/gpt-5.5.roles[1] must be text; put it in quotes"),
    ("models", "models:\n  openai/gpt-5.5: big\n", "configs/models.yaml:2: models.openai/gpt-5.5 must be a mapping"),
    ("models", "models: [a]\n", "configs/models.yaml:1: models must be a mapping"),
    ("routing", "routing: 3\n", "configs/routing.yaml:1: routing must be a mapping"),
    ("routing", "routing: {approved: openai}\n", "configs/routing.yaml:1: routing.approved must be a list"),
    ("models", "models:\n  openai/gpt-5.5:\n    as_of: yesterday\n",
     "models.openai/gpt-5.5.as_of must be a date such as 2026-11-21"),
    ("models", "providers: {openai: {base_url: 'localhost:80'}}\n",
     "providers.openai.base_url must be a URL that begins with http:// or https://"),
    ("models", "providers: {openai: {base_url: 'https://me:pw@host/v1'}}\n",
     "providers.openai.base_url must not hold a user name or password"),
    ("models", "providers: {openai: {base_url: 'https://host/v1?api-version=1'}}\n",
     "providers.openai.base_url must end before the '?'"),
    # Words with few values
    ("models", "models:\n  openai/gpt-5.5:\n    tier: fronteer\n",
     "configs/models.yaml:3: models.openai/gpt-5.5.tier: 'fronteer' is not one of ondevice, economy, standard,"
     " advanced, frontier; did you mean 'frontier'?"),
    ("routing", "routing: {strategy: off}\n", "routing.strategy: the truth value false is not one of cost, latency"),
    ("routing", "routing: {limits: {call: .inf}}\n", "routing.limits.call must be a finite number"),
    ("routing", "routing:\n  strategy: speed\n",
     "configs/routing.yaml:2: routing.strategy: 'speed' is not one of cost, latency, quality, balanced"),
    ("risk", "risk:\n  call:\n    read: lo\n", "configs/risk.yaml:3: risk.call.read: 'lo' is not one of low, medium"),
    ("agents", "agents:\n  coding: {kind: acting}\n",
     "agents.coding.kind: 'acting' is not one of gather, transform, decide"),
    ("models", "models:\n  openai/gpt-5.5:\n    inputs: [text, pictures]\n",
     "configs/models.yaml:3: models.openai/gpt-5.5.inputs[1]: 'pictures' is not one of text, image, pdf, audio, video"),
    # Names of other settings
    ("models", "models:\n  opnai/gpt: {tier: economy}\n",
     "configs/models.yaml:2: models.opnai/gpt names an unknown provider 'opnai'; did you mean 'openai'?"),
    ("models", "models:\n  gpt: {tier: economy}\n",
     "configs/models.yaml:2: the model 'gpt' must be called provider/name"),
    ("agents", "agents:\n  coding:\n    model: anthropic/claude-opus-47\n",
     "configs/agents.yaml:3: agents.coding.model names an unknown model 'anthropic/claude-opus-47'; did you mean"
     " 'anthropic/claude-opus-4-7'?"),
    ("routing", ROUTE + "prefer: openai/gpt-55\n",
     "configs/routing.yaml:5: routing.rules[mine].prefer names an unknown model 'openai/gpt-55'; did you mean"
     " 'openai/gpt-5.5'?"),
    ("routing", ROUTE + "avoid: [deepsek]\n",
     "routing.rules[mine].avoid names an unknown model or provider 'deepsek'; did you mean 'deepseek'?"),
    ("routing", "routing: {approved: [opnai]}\n",
     "routing.approved names an unknown model or provider 'opnai'; did you"),
    ("routing", ROUTE + "require: {codding: 0.5}\n",
     "routing.rules[mine].require.codding names an unknown score 'codding'; did you mean 'coding'?"),
    ("models", "providers:\n\n  openai: null\n",
     "configs/models.yaml:3: providers.openai is removed here, but models.openai/gpt-5.4-mini still names it"),
    ("models", "models:\n  anthropic/claude-opus-4-7: null\n",
     "models.anthropic/claude-opus-4-7 is removed here, but agents.coding.model still names it; change that too"),
    ("models", "models:\n  anthropic/claude-opus-47: null\n",
     "configs/models.yaml:2: there is no 'anthropic/claude-opus-47' in models to remove; did you mean"),
    ("routing", "routing:\n  rules:\n    task.cod: null\n",
     "configs/routing.yaml:3: there is no rule 'task.cod' in routing.rules to remove; did you mean 'task.code'?"),
    ("routing", "routing:\n  on_failure:\n    timeout: null\n",
     "configs/routing.yaml:3: routing.on_failure lacks 'timeout'"),
    ("risk", "risk:\n  call: {read: null}\n", "configs/risk.yaml:2: risk.call lacks 'read'"),
    # A key under its names of version 0.1 and of now
    ("routing", "routing:\n  on_failure: {timeout: stop}\n  cures: {timeout: stop}\n",
     "configs/routing.yaml:3: 'cures' is called 'on_failure' now"),
    ("routing", "routing:\n  cures: {timeot: stop}\n",
     "configs/routing.yaml:2: unknown key 'timeot' in routing.on_failure"),
    # Rules
    ("routing", "routing:\n  rules:\n  - {reason: r}\n", "configs/routing.yaml:3: a rule of routing.rules has no id"),
    ("routing", "routing:\n  rules: [a]\n", "a rule of routing.rules must be a mapping with id and reason"),
    ("routing", "routing:\n  rules: yes\n", "configs/routing.yaml:2: routing.rules must be a list of rules"),
    ("routing", "routing:\n  rules:\n  - {id: a, reason: r}\n  - {id: a, reason: s}\n",
     "configs/routing.yaml:4: the rule 'a' stands twice in routing.rules"),
    ("risk", "risk:\n  rules: {a: {id: b}}\n", "the rule 'a' calls itself 'b'"),
    ("risk", RULE + "efect: write\n",
     "configs/risk.yaml:7: risk.rules[mine].when.efect: unknown feature 'efect'; did you mean 'effect'?"),
    ("risk", RULE + "complexity: {min: 0.5}\n",
     "risk.rules[mine].when.complexity: a risk rule may not ask for 'complexity', only for declared facts"),
    ("risk", RULE + "effect: [read, wriet]\n",
     "risk.rules[mine].when.effect: 'wriet' is not one of read, write, external, destructive; did you mean 'write'?"),
    ("risk", RULE + "reversible: 1\n", "risk.rules[mine].when.reversible: 1 is not one of true, false"),
    ("risk", RULE + "reversible: 'no'\n", "risk.rules[mine].when.reversible: 'no' is not one of true, false"),
    ("risk", RULE + "dependents: {min: 4, max: 3}\n", "risk.rules[mine].when.dependents: min is above max"),
    ("risk", RULE + "dependents: {}\n", "risk.rules[mine].when.dependents needs a min or a max"),
    ("risk", RULE + "dependents: many\n", "risk.rules[mine].when.dependents must be a number"),
    ("risk", RULE + "dependents: {mim: 4}\n", "configs/risk.yaml:7: risk.rules[mine].when.dependents"),
    ("risk", RULE + "kind: []\n", "risk.rules[mine].when.kind is an empty list, so it never holds"),
    ("risk", RULE + "kind: {min: 1}\n", "risk.rules[mine].when.kind is no number and takes no min or max"),
    ("risk", RULE + "task: 3\n", "risk.rules[mine].when.task must be text; put it in quotes"),
    ("risk", RULE + "task: {a: {b: c}}\n", "configs/risk.yaml:7: risk.rules[mine].when.task"),
]  # fmt: skip


def told(project: Path, environ: dict[str, str] | None = None, **given: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(project, environ=environ or {}, **given)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize(("file", "text", "says"), MISTAKES, ids=[says[:70] for *_, says in MISTAKES])
def test_a_mistake_is_told_in_one_line_with_its_place(file: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / f"{file}.yaml").write_text(text, encoding="utf-8")
    assert says in told(tmp_path)


@pytest.mark.parametrize(
    ("environ", "flags", "says"),
    [
        ({"POINTSMAN_ROUTNG__STRATEGY": "cost"}, {},
         "environment POINTSMAN_ROUTNG__STRATEGY: 'routng' is no section; did you mean 'routing'?"),
        ({"POINTSMAN_OFLINE": "1"}, {},
         "environment POINTSMAN_OFLINE: unknown variable; did you mean 'POINTSMAN_OFFLINE'?"),
        ({"POINTSMAN_ROUTING_STRATEGY": "cost"}, {}, "unknown variable; did you mean 'POINTSMAN_ROUTING__STRATEGY'?"),
        ({"POINTSMAN_PROVIDERS_OPENAI_BASE_URL": "http://x"}, {},
         "names no setting; did you mean POINTSMAN_PROVIDERS__OPENAI__BASE_URL, with two"),
        ({"POINTSMAN_RISK_RULES": "[]"}, {}, "names no setting; did you mean POINTSMAN_RISK__RULES, with two"),
        ({"POINTSMAN_ROUTING__STRATEGY": "fast"}, {},
         "environment POINTSMAN_ROUTING__STRATEGY: routing.strategy: 'fast'"),
        ({"POINTSMAN_PROVIDERS__OPENAI__BASE_UR": "http://x"}, {},
         "unknown key 'base_ur' in providers.openai; did you"),
        ({"POINTSMAN_ROUTING__APPROVED": "[a"}, {}, "environment POINTSMAN_ROUTING__APPROVED"),
        ({"POINTSMAN_OFFLINE": "perhaps"}, {}, "environment POINTSMAN_OFFLINE: offline must be true or false"),
        ({"POINTSMAN_ROUTING__LIMITS": "x", "POINTSMAN_ROUTING__LIMITS__ATTEMPTS": "3"}, {},
         "environment POINTSMAN_ROUTING__LIMITS__ATTEMPTS: 'limits' is set as a whole and in part"),
        ({}, {"routing.stratgy": "cost"},
         "flag routing.stratgy: unknown key 'stratgy' in routing; did you mean 'strategy'?"),
        ({}, {"ofline": True}, "flag ofline: unknown setting; did you mean 'offline'?"),
        ({}, {"routing.strategy": 3}, "flag routing.strategy: routing.strategy: 3 is not one of"),
        ({}, {"": 3}, "flag : unknown setting"),
        ({}, {"secrets.X": "y"}, "flag secrets.X: unknown setting"),
        ({}, {"origins": {}}, "flag origins: unknown setting"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_variable_or_a_flag_names_it(
    environ: dict[str, str], flags: dict[str, Any], says: str, tmp_path: Path
) -> None:
    assert says in told(tmp_path, environ, flags=flags)


def test_a_project_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert told(tmp_path / "none").endswith("none: the project folder does not exist")


def test_the_error_carries_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "routing.yaml").write_text("routing:\n  strategy: x\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ={})
    assert (caught.value.file, caught.value.line) == ("routing.yaml", 2)


BUILTIN = {
    name: yaml.safe_load(importlib.resources.files("pointsman.configs").joinpath(f"{name}.yaml").read_text("utf-8"))
    for name in ("models", "agents", "routing", "risk")
}


def paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in items:
        yield from paths(child, (*path, key))


SPOTS = [(name, path) for name, tree in BUILTIN.items() for path in paths(tree)]
ODD = st.sampled_from(
    [
        None,
        3,
        -1,
        "",
        "x",
        "3",
        True,
        [],
        {},
        [1],
        [None],
        [{}],
        [{"id": 3}],
        {"a": 1},
        {"id": "a"},
        {"min": "x"},
        [[[1]]],
    ]
)


@given(st.sampled_from(SPOTS), ODD, st.sampled_from(["file", "flag"]))
def test_any_value_in_any_place_is_taken_or_told_as_the_users_mistake(
    spot: tuple[str, tuple[Any, ...]], odd: Any, way: str
) -> None:
    name, path = spot
    whole = copy.deepcopy(BUILTIN[name])
    inside = whole
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = odd
    told_of = ""
    with tempfile.TemporaryDirectory() as folder:
        if way == "file":
            (Path(folder) / f"{name}.yaml").write_text(yaml.dump(whole, Dumper=yaml.CSafeDumper), encoding="utf-8")
        try:
            load(Path(folder), environ={}, flags=whole if way == "flag" else {})
        except ConfigError as error:
            told_of = str(error)
    assert "\n" not in told_of


def test_a_cap_of_the_users_is_not_taken_away_by_null_in_the_project(tmp_path: Path) -> None:
    user, project = tmp_path / "user", tmp_path / "project"
    for folder in (user, project):
        folder.mkdir()
    (user / "routing.yaml").write_text("routing: {budgets: {day: 5}, limits: {max_cost: 1}}\n")
    for text in ("budgets: {day: null}", "budgets: null", "limits: {max_cost: null}"):
        (project / "routing.yaml").write_text(f"routing: {{{text}}}\n")
        with pytest.raises(ConfigError, match=r"^routing\.yaml:1: .* null would take a bound away; write the USD"):
            load(project, environ={}, user=user)
