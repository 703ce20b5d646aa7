"""`pointsman provider`: off for so many seconds, on again, and what is off."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pointsman.dispatch.guards.availability import OVERRIDES_FILE, Overrides

Run = Callable[..., Any]


def test_a_provider_is_switched_off_listed_and_switched_on(pointsman: Run, project: Path) -> None:
    ended = pointsman("provider", "off", "openai", "--for", "600", "--reason", "maintenance")
    assert ended.exit_code == 0, ended.stderr
    assert ended.stdout.startswith("openai is switched off until ")
    assert Overrides(project / ".pointsman" / OVERRIDES_FILE).reasons()["openai"].reason.endswith(": maintenance")

    off = [one for one in json.loads(pointsman("provider", "list", "--json").stdout) if one["state"] == "off"]
    assert {one["name"].partition("/")[0] for one in off} == {"openai"}
    assert {one["reason"] for one in off} == {"maintenance"}
    assert all(590 < one["seconds"] <= 600 for one in off)
    assert "maintenance" in pointsman("provider", "list").stdout

    assert pointsman("provider", "on", "openai").stdout == "openai is on again\n"
    assert pointsman("provider", "on", "openai").stdout == "openai was not switched off\n"
    assert "maintenance" not in pointsman("provider", "list").stdout


def test_a_single_model_can_be_switched_off(pointsman: Run, project: Path) -> None:
    made = json.loads(pointsman("provider", "off", "openai/gpt-5.5", "--for", "60", "--json").stdout)
    assert made["name"] == "openai/gpt-5.5"


def test_a_name_that_is_none_is_refused_with_the_nearest(pointsman: Run, project: Path) -> None:
    for words in (("off", "opnai", "--for", "60"), ("on", "opnai")):
        ended = pointsman("provider", *words)
        assert ended.exit_code == 2
        assert ended.stderr.startswith("error: there is no provider or model 'opnai'; did you mean 'openai'?")
    assert pointsman("provider", "off", "openai").exit_code == 2
    assert pointsman("provider", "off", "openai", "--for", "0").exit_code == 2
    assert pointsman("provider", "off", "openai", "--for", "nan").exit_code == 2


def test_what_left_the_configuration_while_it_was_off_can_still_be_switched_on(pointsman: Run, own: Path) -> None:
    (own / "models.yaml").write_text(
        "providers: {lab: {backend: openai_compatible, base_url: 'http://127.0.0.1:9/v1', local: true}}\n"
    )
    assert pointsman("provider", "off", "lab", "--for", "600").exit_code == 0
    (own / "models.yaml").unlink()
    assert [one["state"] for one in json.loads(pointsman("provider", "list", "--json").stdout)][-1] == "off"
    assert pointsman("provider", "on", "lab").stdout == "lab is on again\n"
