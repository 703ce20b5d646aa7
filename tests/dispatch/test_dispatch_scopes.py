"""The scopes that a call counts against."""

from __future__ import annotations

from pointsman.dispatch.context import RunContext
from pointsman.dispatch.guards.budget import scopes_of


def test_a_user_who_goes_by_a_secret_has_a_scope_of_their_own_that_does_not_name_it() -> None:
    keys = [f"sk-proj-abcdefghijklmnop{number}" for number in (1234, 5678)]
    scopes = [next(iter(scopes_of(RunContext(user=user), {"user": 1.0}))) for user in ("ann", *keys, keys[0])]

    assert scopes[0] == "user:ann"
    assert scopes[1] == scopes[3] != scopes[2]
    assert not [scope for scope in scopes for key in keys if key in scope]
