"""No secret in free text."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import uuid
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.configs.redact import Redactor, know, redact, redacted, restored

WORD = string.ascii_letters + string.digits
WORDS = "legal winner thank year wave sausage worth useful legal winner thank yellow"
KINDS = {
    "key": ("sk-proj-Ab3dEf6hIj9kLmN0pQrStUvWxYz12345",) * 2,
    "quoted": ('password = "correct horse battery staple of many words"', "horse battery staple"),
    "block": ("-----BEGIN PRIVATE KEY-----\nMIIEpAIB AAKCAQEA7t\nFaKe\n-----END PRIVATE KEY-----", "AAKCAQEA7t"),
    "header": ("Authorization: Bearer q8Zt-4mN_7yR2wX5vL9k", "q8Zt-4mN_7yR2wX5vL9k"),
    "card": ("4242 4242 4242 4242", "4242 4242 4242 4242"),
    "named": ("service_token: Zq7mR2vX9tL4wN8pK3sD6fG1", "Zq7mR2vX9tL4wN8pK3sD6fG1"),
    "seed": (f"my seed phrase:\n{WORDS}\nis all", WORDS),
    "prose": ("the admin password is Tr0ub4dor&3x", "Tr0ub4dor&3x"),
}
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
    "https://localhost:8080/users/@me?page=2 and https://example.org/How-I-Learned-12-Things-In-2024-About-My-Own-Code",
    "order 4012888888881881 is late; order ORD-2026-000118273, parcel 1Z999AA10123456784, invoice no. 2026/11/4711",
    "1,234.56 EUR, total: $12.99, IBAN DE89 3704 0044 0532 0130 00, call +49 170 1234567",
    "toolu_01A09q90qw90lq917835lq9 chatcmpl-BQxK3Zz7H1mN8pQr5tUv9wXy req_011CSHoEeqs5C35K2UUqR7Fy",
    "password: string, password=None, password = os.environ['PW'], password=get_password(), password: ${PASSWORD}",
    "the basic information and bearer authentication of a token-based design",
    "api_key=OPENAI_API_KEY, key: ANTHROPIC_API_KEY, max_tokens=4096, sort_key=created_at, primary_key=customer_id",
    "the token max_completion_tokens, token: max_completion_tokens, token limit 4096",
    "cache key: 5f4dcc3b5aa765d61d8327deb882cf99, idempotency key: order-2026-000123456",
    "testUserCanLogin2TimesWithTheSameAccountAndPasswordTwice, disk-backed_storage, sk-learn-compatible-estimators",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed at 2026-11-21T07:44:00.123456Z, 1764000000123456",
    "if token == expected_token: raise KeyError(key); signature: def run(self, task: str) -> RunResult",
    "Cookie: chocolate chip; the login form and its password field; login: user password reset works",
    "redis://localhost:6379/0 http://localhost:8080/path@v2 postgres://localhost:5432/db?x=a@b https://a/b%20c?x=1%2B2",
    '["token", "gpt-4"], ("x-api-key", "authorization"), ("/etc/passwd", "is absolute"), mysql -p asks for it',
    "src/app.py:1204:module:name:message and main.c:12:34:error:missing and 12:30:45:abc:def:ghi",
    "root:x:0:0:root:/root:/bin/bash nobody:*:65534:65534:Nobody:/nonexistent fe80:1234:abcd:5678:9abc:def0",
    "arn:aws:iam::123456789012:user/bob urn:isbn:0451450523 sha256:2c26b46b x:y:z:w:v http://localhost:5432/a:b:c",
    "docker run -u 1000:1000 image, git push -u origin main:main2, curl -u asks for both",
    "mysql --protocol=tcp --port=3306 shop; mysql -P 3306 -p shop; the mysql -p option",
    "net use \\\\server\\share and then open it; net use Z: \\\\server\\share /persistent:yes; net user bob /add",
    "net use \\\\server\\share * /user:bob asks for it; the net use of water is low; net user bob",
    "the seed phrase is something that you should never share with anybody who asks, since they can take every coin",
    "a mnemonic helps people remember long lists of words by the first letters; random seed: 42, seed words",
    'seed = 1234, "auth": "true", "auth": "none", "auth": "basic", Authorization: Basic credentials are base64',
    "the recovery phrase has twelve words; use the basic unit of account, Basic auth, basic four parts: a b c d",
    "/tmp/pytest-of-root/pytest-12/test_the_desk_has_a_file_of_agents0/project/desk.py:flow",
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


HEX, MIXED = "0f1e2d3c4b5a69788796a5b4c3d2e1f0", "Zq7mR2vX9tL4wN8pK3sD6fG1hJ5kB0cV7nM2xQ9z"
FOUND = {
    "a password with a slash in a database's address": ("postgres://app:p@ss/w0rd9@db.example.com/x", "w0rd9"),
    "the pair of a cloud": (f"AKIAIOSFODNN7EXAMPLE,{MIXED[:20]}/+{MIXED[:18]}", MIXED[:18]),
    "netrc": ("machine api.example.com login bob password hunter2x", "hunter2x"),
    "netrc over lines": ("machine a\n  login bob\n  password hunter2x\n", "hunter2x"),
    "npmrc": ("//registry.example.com/:_auth=dXNlcjpodW50ZXIyeHl6", "dXNlcjpodW50ZXIyeHl6"),
    "a registry's file": ('{"auths": {"r": {"auth": "dXNlcjpodW50ZXIyeHl6"}}}', "dXNlcjpodW50ZXIyeHl6"),
    "a cookie": (f"Set-Cookie: session={MIXED}; HttpOnly", MIXED),
    "a header's pair": (f"('x-api-key', '{HEX}')", HEX),
    "a header's bytes": (f"(b'x-api-key', b'{HEX}')", HEX),
    "a key's data": (f"client-key-data: {MIXED * 3}", MIXED),
    "a command's option": ("sshpass -p hunter2x ssh host", "hunter2x"),
    "a client secret": (f"abc8Q~{MIXED[:34]}", MIXED[:34]),
    "a bot": (f"MTAxMjM0NTY3ODkwMTIzNDU2.GabcdE.{MIXED[:30]}", MIXED[:30]),
    "a voice": (f"sk_{HEX}{HEX[:16]}", HEX),
    "a package index": (f"rubygems_{HEX}{HEX[:16]}", HEX),
    "pgpass": ("db.example.com:5432:shop:app:hunter2x", "hunter2x"),
    "pgpass of any": (r"*:*:*:postgres:hun\:ter2x", "ter2x"),
    "pgpass of a short host": ("db:5432:*:app:correcthorse", "correcthorse"),
    "pgpass of an address": ("10.0.0.5:6000:shop:app:correcthorse", "correcthorse"),
    "glued to a command's option": ("sshpass -pcorrecthorse ssh host", "correcthorse"),
    "glued, quoted": ("mysql -u root -p'correct horse' shop", "horse"),
    "a long option": ("mysql --password=SECRETx shop", "SECRETx"),
    "a fork": ("mariadb-dump -u root -pcorrecthorse shop", "correcthorse"),
    "a user with a password": ("curl -s -u user:correcthorse https://x", "correcthorse"),
    "a user with a password, glued": ("curl -s -uuser:correcthorse https://x", "correcthorse"),
    "a user with a password, quoted": ("curl --user 'user:correct horse' https://x", "horse"),
    "a user with a password, listed": ('["curl", "-u", "user:correcthorse"]', "correcthorse"),
    "a header of a short pair": ("Authorization: Basic YTpi", "YTpi"),
    "a header of a pair": ("-H 'Authorization: Basic dXNlcjpwYXNz'", "dXNlcjpwYXNz"),
    "a seed phrase": (f"seed phrase: {WORDS}", "winner thank"),
    "a seed phrase of twice the words": (f'MNEMONIC="{WORDS} {WORDS}"', "winner thank"),
    "a seed phrase in prose": (f"my recovery phrase is {WORDS}.", "winner thank"),
    "a numbered seed phrase": (
        "Mnemonic:\n" + "\n".join(f"{n}. {w}" for n, w in enumerate(WORDS.split(), 1)),
        "sausage",
    ),
    "a drive": (r"net use Z: \\server\share hunter2x /user:dom\bob", "hunter2x"),
    "a drive, after its user": (r"net use \\server\share /user:bob hunter2x", "hunter2x"),
    "a drive alone": (r"net use Z: \\server\share hunter2x", "hunter2x"),
    "an account": ("net user bob hunter2x /add", "hunter2x"),
    "a registry's file of a short pair": ('{"auths":{"r":{"auth":"YTpi"}}}', "YTpi"),
    "in a word": ("fooghp_abcdefghijklmnopqrstuvwxyz0123456789bar", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    "in a file's name": (f"/tmp/xglpat-{MIXED[:20]}.txt", MIXED[:20]),
    "in an address": (f"https://x/?q=api_key%3D{HEX}%26b%3D1", HEX),
}


@pytest.mark.parametrize(("text", "secret"), FOUND.values(), ids=FOUND)
def test_a_secret_is_known_by_its_shape_and_by_what_stands_beside_it(text: str, secret: str) -> None:
    for form in ("{}", "see {} there", "`{}`", "a\t{}\tb"):
        assert secret not in redact(form.format(text)), form
    assert secret not in redact(json.dumps({"a": text}))


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_found_in_base64_and_in_a_part_of_an_address(secret: str) -> None:
    text = f"hello, the key is {secret}, yours"
    assert redact(f"x {base64.b64encode(text.encode()).decode()} y") == "x [redacted] y"
    folded = base64.encodebytes((text * 3).encode()).decode()
    assert redact(folded).strip() == redact(json.dumps(folded)).strip('"').strip("\\n") == "[redacted]"
    assert secret not in redact(f"https://x/?q={quote(quote(text, safe=''), safe='')}")


def test_base64_of_a_text_without_a_secret_and_of_files_in_lines_stays() -> None:
    chance = random.Random(7)
    for content in (b"the password is changed every 90 days, see page 12", *(chance.randbytes(900) for _ in range(50))):
        for text in (base64.b64encode(content).decode(), base64.encodebytes(content).decode()):
            assert redact(text) == text


def test_what_is_known_to_be_a_secret_is_found_whatever_its_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pointsman.configs.redact._known", [])
    know(["blue-7-horses", "short", "not-needed", "/home/me/key2.json"])
    assert redact("it says blue-7-horses!") == "it says [redacted]!"
    assert redact(f"in {base64.b64encode(b'it says blue-7-horses now').decode()}") == "in [redacted]"
    assert redact("short not-needed /home/me/key2.json") == "short not-needed /home/me/key2.json"


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


def test_every_kind_of_secret_is_taken_out_of_every_form_of_text(fake_secret: tuple[str, str]) -> None:
    text, secret = fake_secret

    for form in ("{}", "it says: {}, and more.", "<p>{}</p>", "- {}\n- next", "`{}`"):
        assert secret not in redact(form.format(text)), form
    lines = f"first\n{text}\n\t{text}\r\nü {text}"
    for laid in (json.dumps({"a": lines}), json.dumps({"a": json.dumps({"b": lines})}), repr({"a": lines})):
        assert json.dumps(secret)[1:-1] not in redact(laid), laid
    assert secret not in json.dumps(redacted({"a": [text, {"b": (text,)}], text: 1}))


@pytest.mark.slow
def test_random_identifiers_hashes_and_files_in_base64_stay() -> None:
    chance = random.Random(7)

    def some(count: int) -> bytes:
        return chance.randbytes(count)

    for _ in range(300):
        picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + some(chance.randrange(40, 3000))).decode()
        for text in (
            f"request {uuid.UUID(bytes=some(16))} of {hashlib.sha1(some(9)).hexdigest()}",
            f"sha256:{hashlib.sha256(some(9)).hexdigest()} sha512-{base64.b64encode(some(64)).decode()}",
            f"data:image/png;base64,{picture}",
            json.dumps({"type": "image", "data": picture, "price": f"{chance.randrange(10**6) / 100:,.2f}"}),
            f"order no. {chance.randrange(10**9, 10**15)} for {chance.randrange(10**4)}.99",
        ):
            assert redact(text) == text


def test_a_value_is_judged_by_the_name_it_stands_under_and_types_are_kept() -> None:
    was = {
        "password": "correct horse",
        "api_key": "9f86d081884c7d65",
        "n": 3,
        "ok": True,
        "tokens": [1.5, None],
        "s": "s",
    }

    assert redacted(was) == {**was, "password": "[redacted]", "api_key": "[redacted]"}
    assert redacted(("plain", 1)) == ["plain", 1]


def test_an_edit_of_what_was_shown_redacted_keeps_the_secrets_that_were_left_alone() -> None:
    was = {
        "url": "https://u:p4ssw0rd@host/a",
        "to": {"password": "hunter2x", "name": "ann"},
        "all": ["token=Zq7mR2vX9tL4wN8p"],
    }
    shown = json.loads(json.dumps(redacted(was)))
    assert "p4ssw0rd" not in str(shown)

    assert restored(shown, was) == was
    shown["to"]["name"] = "bob"
    assert restored(shown, was) == {**was, "to": {"password": "hunter2x", "name": "bob"}}


@given(st.data())
def test_a_secret_that_comes_in_pieces_is_never_given_out_in_pieces(data: st.DataObject) -> None:
    from_kinds = data.draw(st.sampled_from(sorted(KINDS)))
    text, secret = KINDS[from_kinds]
    before = data.draw(st.text("abc \n:", max_size=60))
    whole = f"{before} {text} and so it ends, after some further words\nin two lines"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=40)))
    redactor, said = Redactor(), ""
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        said += redactor.push(whole[start:stop])
        assert secret not in said
    said += redactor.close()

    assert secret not in said
    assert said == redact(whole)


def test_words_that_hold_no_secret_are_given_out_as_they_come() -> None:
    redactor = Redactor()
    shown = [redactor.push(f"word{n} ") for n in range(20)]

    assert "".join(shown) == "".join(f"word{n} " for n in range(14))
    assert redactor.close() == "".join(f"word{n} " for n in range(14, 20))
