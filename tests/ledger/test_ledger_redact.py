"""No secret in free text."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.ledger.redact import redact

WORD = string.ascii_letters + string.digits
SECRETS = {
    "openai": "sk-proj-Abc123Abc123Abc123",
    "anthropic": "sk-ant-api03-aaaaaaaa_bbbb-cccc",
    "google": "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "github": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github fine": "github_pat_11ABCDEFG0abcdefghijkl_mnop",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "slack": "xoxb-123456789012-abcdef",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-def_ghi",
    "bedrock": "ABSKQmVkcm9ja0FQSUtleS1hYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5eg",
}
CLEAN = (
    "rate limited: try again in 20 s (request req_011CSHoEeqs5C35K2UUqR7Fy)",
    "the task-management-service told us that tokens: 1200 of 4096 were used",
    "File /home/user/projects/Alpha2/src/very_long_module_name_indeed/handler.py, line 12",
    "run 20261121-074400-deadbeef, decision 0123456789abcdef0123456789abcdef",
    "key: value, token: none, the secret is to keep calm; author = somebody",
    "https://example.org/a/b?c=d",
)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize(
    "text", ["{}", "Incorrect API key provided: {}.", "(key={})", '{{"error": "{}"}}', "a {} b {} c"]
)
def test_a_key_of_a_known_shape_is_taken_out(secret: str, text: str) -> None:
    said = redact(text.format(secret, secret))
    assert secret not in said
    assert "[redacted]" in said


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abc.def-123~456", "Authorization: Bearer [redacted]"),
        ("api_key=0123456789abcdef0123456789abcdef!", "api_key=[redacted]!"),
        ('{"client_secret": "dGhpcyBpcyBhIHNlY3JldA=="}', '{"client_secret": "[redacted]"}'),
        ("password=hunter2 next", "password=[redacted] next"),
        ("postgres://me:s3cret@db:5432/x", "postgres://me:[redacted]@db:5432/x"),
        ("GET /v1?key=abcdefghijklmnop0123&alt=sse", "GET /v1?key=[redacted]&alt=sse"),
        ("a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nxyz\n-----END RSA PRIVATE KEY-----\nb", "a\n[redacted]\nb"),
    ],
)
def test_what_stands_beside_a_secret_is_kept(text: str, left: str) -> None:
    assert redact(text) == left


@pytest.mark.parametrize("text", CLEAN)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


_SEPARATORS = st.text(st.characters(codec="utf-8").filter(lambda c: not (c.isascii() and (c.isalnum() or c in "_-"))))


@settings(deadline=None)
@given(
    _SEPARATORS,
    st.sampled_from(["sk-", "AIza", "ghp_", "AKIA", "Bearer ", "token=", "api-key: "]),
    st.text(WORD, min_size=20, max_size=60),
    _SEPARATORS,
)
def test_no_long_key_survives_whatever_stands_around_it(before: str, prefix: str, key: str, after: str) -> None:
    key = key.upper() if prefix == "AKIA" else key
    assert key not in redact(f"{before}{prefix}{key}{after}")


@settings(deadline=None)
@given(st.text() | st.from_regex(r"(sk-|key=|Bearer |password=|://a:)[ -~]{0,60}"))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
