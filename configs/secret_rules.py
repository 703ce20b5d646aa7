"""The shapes of secrets, the words next to them, and the checks before one is redacted."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from functools import cached_property
from typing import Final

__all__ = [
    "ENCODED",
    "LONG",
    "MARK",
    "NAMES",
    "NAMES_TOO",
    "QUOTED",
    "RULES",
    "RUN",
    "SEED_NAMES",
    "SEED_OPEN",
    "SHORTEST",
    "Found",
    "Pattern",
    "Rule",
    "if_random",
]

MARK: Final = "[redacted]"
"""The text that replaces a secret."""

Found = re.Match[str]

_START: Final = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=\\u[0-9A-Fa-f]{4}))"
"""Start of a word, also in JSON and similar text, where an escaped line end finishes with a letter."""


class Pattern:
    """A pattern compiled on first use: compiling all of them takes longer than a short command."""

    def __init__(self, source: str, flags: int = 0) -> None:
        self._source, self._flags = source, flags

    @cached_property
    def sub(self) -> Callable[[str | Callable[[Found], str], str], str]:
        """The `re.Pattern.sub` of the compiled pattern."""
        return re.compile(self._source, self._flags).sub


# The shapes that vendors publish for secret scanners: of models, clouds, code hosts, chat, mail, payment, packages.
_PREFIXED: Final = Pattern(
    _START
    + r"""(?:
        (?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{8,}
      | (?:gsk_|xai-|pplx-|r8_|hf_|nvapi-|tvly-|csk-|fw_|jina_|lsv2_(?:pt|sk)_|phc_|npm_|whsec_|figd_)[A-Za-z0-9_-]{16,}
      | AIza[A-Za-z0-9_-]{20,} | ya29\.[A-Za-z0-9_-]{16,} | GOCSPX-[A-Za-z0-9_-]{16,}
      | gh[oprsu]_[A-Za-z0-9]{16,} | github_pat_[A-Za-z0-9_]{16,} | gl(?:pat|dt|rt|ft|cbt|ptt|soat)-[A-Za-z0-9_-]{16,}
      | ATATT3[A-Za-z0-9_=-]{16,} | dop_v1_[0-9a-f]{32,} | shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{24,} | dapi[0-9a-f]{32}
      | hvs\.[A-Za-z0-9_-]{16,} | pypi-[A-Za-z0-9_-]{32,} | lin_api_[A-Za-z0-9]{20,} | ntn_[A-Za-z0-9]{20,}
      | SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,} | key-[0-9a-f]{32} | sq0(?:atp|csp)-[A-Za-z0-9_-]{16,}
      | xox[abeoprs]-[A-Za-z0-9-]{8,} | xapp-\d-[A-Za-z0-9-]{12,}
      | (?:AKIA|ASIA)[A-Z0-9]{12,} | ABSK[A-Za-z0-9+/]{32,}=* | AGE-SECRET-KEY-1[A-Z0-9]{20,}
      | \d{8,10}:AA[A-Za-z0-9_-]{32,}
      | NRAK-[A-Z0-9]{20,} | dp\.[a-z]{2}\.[A-Za-z0-9]{32,} | fm[12][ar]?_[A-Za-z0-9+/=]{32,}
      | ATBB[A-Za-z0-9]{24,} | rubygems_[0-9a-f]{40,} | dckr_[po]at_[A-Za-z0-9_-]{16,}
      | 1//0[A-Za-z0-9_-]{40,} | sbp_[0-9a-f]{32,} | pscale_[a-z]+_[A-Za-z0-9_=.-]{16,} | glsa_[A-Za-z0-9_]{32,}
      | sntry[su]_[A-Za-z0-9+/=_-]{32,} | PMAK-[0-9a-f]{24}-[0-9a-f]{34} | bedrock-api-key-[A-Za-z0-9+/=]{32,}
      | [A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{40,} | [A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.-]{31,34}
      | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)*
    )""",
    re.VERBOSE,
)
_PREFIXES: Final = (
    *("k_live_", "k_test_", "gsk_", "xai-", "pplx-", "r8_", "hf_", "nvapi-", "tvly-", "csk-", "fw_", "jina_"),
    *("lsv2_", "phc_", "npm_", "whsec_", "figd_", "aiza", "ya29.", "gocspx-", "gho_", "ghp_", "ghr_", "ghs_", "ghu_"),
    *("github_pat_", "glpat-", "gldt-", "glrt-", "glft-", "glcbt-", "glptt-", "glsoat-", "atatt3", "dop_v1_", "shp"),
    *("dapi", "hvs.", "pypi-", "lin_api_", "ntn_", "sg.", "key-", "sq0", "xox", "xapp-", "akia", "asia", "absk"),
    *("age-secret", "eyj", ":aa", "nrak-", "dp.", "fm1", "fm2", "atbb", "rubygems_", "dckr_", "1//0"),
    *("sbp_", "pscale_", "glsa_", "sntry", "pmak-", "bedrock-api", ".atlasv1.", "q~"),
)
# These begin like common words, but common words are not that long.
LONG: Final = Pattern(
    r"(?=[scpSMNO])" + _START + r"(?:sk_[0-9a-f]{40,}|SK[0-9a-f]{32}|cio[A-Za-z0-9]{32}(?![A-Za-z0-9])"
    r"|pat[A-Za-z0-9]{14}\.[0-9a-f]{64}|pa-[A-Za-z0-9_]{40,}|secret_[A-Za-z0-9]{40,}|[MNO][A-Za-z0-9_-]{17,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,})"
)
# The beginning alone identifies these, even in the middle of a word.
_INSIDE: Final = Pattern(
    r"(?=[srpgnAxhdlGS])(?:(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}|sk-(?:ant|proj|or)-[A-Za-z0-9_-]{16,}|sk-[0-9a-f]{32}(?![0-9a-f])"
    r"|gh[oprsu]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}|gl(?:pat|dt|rt)-[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{36,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])|AIza[A-Za-z0-9_-]{35}|xox[abeoprs]-[0-9]{8,}[A-Za-z0-9-]{12,}"
    r"|pypi-AgE[A-Za-z0-9_-]{32,}|hf_[A-Za-z0-9]{34,}|pplx-[A-Za-z0-9]{40,}|shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}"
    r"|hvs\.[A-Za-z0-9_-]{24,}|dapi[0-9a-f]{32}|lsv2_(?:pt|sk)_[0-9a-f]{32}|GOCSPX-[A-Za-z0-9_-]{28}|fw_[A-Za-z0-9]{24})"
)
_PAIR: Final = Pattern(r"((?:AKIA|ASIA)[A-Z0-9]{12,}[^A-Za-z0-9+/]{1,20})[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/])")
_SK: Final = Pattern(_START + r"sk-[A-Za-z0-9_-]{8,}")
_BLOCK: Final = Pattern(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)", re.S
)
_HEADER: Final = Pattern(r"(\bauthorization\\?[\"']?\s*[:=]\s*\\?[\"']?(?:\w+\s+)?)([^\s\"',;\\]{8,})", re.I)
_BEARER: Final = Pattern(_START + r"(Bearer\s+)([A-Za-z0-9+/_.~%-]{8,}=*)", re.I)
_BASIC: Final = Pattern(_START + r"(Basic\s+)([A-Za-z0-9+/]{6,}={0,2})", re.I)
_IN_URL: Final = Pattern(r"(://[^\s/:@?#\"'<>]*:)[^\s/?#\"'<>]+(?=@)")
_ALONE_IN_URL: Final = Pattern(r"(://)[A-Za-z0-9_-]{20,}(?=@)")
_DATABASE: Final = Pattern(
    r"((?:postgres(?:ql)?|mysql|mariadb|mongodb|rediss?|amqps?|mssql|oracle|clickhouse|cockroachdb|snowflake|db2)(?:\+\w+)?"
    r"://[^\s/:@?#\"'<>]{0,128}:)(?!\d{1,5}[/,\s])[^\s\"'<>]{1,128}(?=@[\w.-]+)",
    re.I,
)
_COOKIE: Final = Pattern(r"(\bcookie\\?[\"']?\s*[:=,]\s*b?\\?[\"']?[^\s=;:,\"'\\]{1,64}=)[^\s;\"',\\]{12,}", re.I)
_NETRC: Final = Pattern(
    r"(\blogin(?:\s|\\n)+\S+?(?:\s|\\n)+(?:account(?:\s|\\n)+\S+?(?:\s|\\n)+)?password(?:\s|\\n|\\t)+)[^\s\"\\]+"
)
_NPMRC: Final = Pattern(r"((?<![A-Za-z])_auth\s*=\s*\\?[\"']?)[A-Za-z0-9+/]{8,}={0,2}")
_DOCKER: Final = Pattern(r"(\bauth\\*[\"']\s*:\s*\\*[\"'])([A-Za-z0-9+/]{4,}={0,2})(?=\\*[\"'])")
_BASIC_HEADER: Final = Pattern(
    r"(\bauthorization\\*[\"']?\s*[:=,]\s*\\*[\"']?basic\s+)([A-Za-z0-9+/]{4,}={0,2})(?![A-Za-z0-9+/])", re.I
)
_COMMAND: Final = Pattern(
    r"((?:\bsshpass\s+-p\s*|\b(?:mysql|mariadb)[\w-]*\s(?:[^\n|;]{0,200}?\s)?(?:-p|--password=))(?P<quote>\\?[\"'])?)"
    r"(?(quote)(?:(?!(?P=quote))[^\n])+|[^\s\"'\\-][^\s\"']*)"
)
# The password follows the share if it is not a plain word or if /user: or nothing comes after it; or it follows /user:.
_NET_USE: Final = Pattern(
    r"(\bnet(?:\.exe)?\s+use\s+(?:[a-z*]:?\s+)?\\{2,8}[^\s\"]+\s+(?:/(?!user)\w+(?::\S+)?\s+)*)"
    r"(?:(/user:\S+\s+)(?![/*])[^\s\"'`\\]+|(?![/*])(?:[a-z]*[\d!@#$%^&][^\s\"'`\\]*|[^\s\"'`\\]+(?=\s+/|\s*(?:\Z|[\n&|\"'`]|\\[nr]))))",
    re.I,
)
_NET_USER: Final = Pattern(r"(\bnet(?:\.exe)?\s+user\s+[^\s/]+\s+)(?![/*])[^\s\"']+(?=\s+/[a-z])", re.I)
# www.postgresql.org/docs/current/libpq-pgpass.html; the host before it is checked for each match.
_PGPASS: Final = Pattern(
    r"(:(?P<port>\d{4,5}|\*):(?P<db>[A-Za-z_*][\w.*-]{0,63}):(?P<user>[^\s:\"'`<>\\]{1,64}):)(?:\\+[:\\]|[^\s\"'`<>\\])+"
)
_HOST: Final = re.compile(r"(?:^|[\s\"'`(>]|\\[nrt])([\w.-]+|\*|\[[0-9A-Fa-f:.]+\]|/[\w./-]+)\Z")
_FULL_HOST: Final = re.compile(r"localhost|\*|[\[/].*|[\w-]+(?:\.[\w-]+)+(?<!\.py)(?<!\.[cjrt]s)(?<!\.[chm])(?<!\.go)")
_PORTS: Final = re.compile(r"543\d|6432|6543|15432|25060|26257")
"""Ports of PostgreSQL, its poolers and related servers; a short name before one of them is a host."""
_SEED_LABEL: Final = (
    r"(?:\b(?:seed|recovery|backup|mnemonic|wallet)[ _-]?(?:phrase|words?|seed|sentence|mnemonic)|\bmnemonics?\b"
    r"|\bseed\\?[\"']?\s?(?=[:=]))(?:[^A-Za-z0-9]|\\n){0,8}(?:(?:is|are|was)\b(?:[^A-Za-z0-9]|\\n){1,4})?(?:1[.):]\s?)?"
)
_SEED_WORD: Final = r"[A-Za-z]{3,8}(?![A-Za-z])"
_SEED_GAP: Final = r"(?:[\s,\"']|\\[nrt\"]|\d{1,2}[.):]){1,8}"
_SEED: Final = Pattern(rf"({_SEED_LABEL})({_SEED_WORD}(?:{_SEED_GAP}{_SEED_WORD}){{11,23}})", re.I)
SEED_OPEN: Final = re.compile(rf"{_SEED_LABEL}(?:{_SEED_WORD}{_SEED_GAP}){{0,24}}[A-Za-z]{{0,8}}\Z", re.I)
SEED_NAMES: Final = ("seed", "mnemonic", "phrase", "recovery", "wallet")
_PROSE: Final = re.compile(
    r"\b(?:the|and|for|are|not|but|was|has|its|your|from|been|were|our|who|how|should|would|could|which|their|with|them"
    r"|these|those|than|his|her|every|does)\b",
    re.I,
)
"""None of these is in a seed phrase (BIP-39's English list), and twelve words of prose nearly always contain one."""
_HOOK: Final = Pattern(r"(hooks\.slack\.com/services/|discord(?:app)?\.com/api/webhooks/)[A-Za-z0-9_/-]{16,}")
_QUERY: Final = Pattern(r"([?&](?:key|api_?key|token|sig|signature|code|secret)=)[^\s&\"'#\\]{8,}", re.I)
# A pair of numbers is a user id and a group id.
_CURL: Final = Pattern(
    r"((?:(?:(?<!\S)|(?<=[\"'`]))(?:-u|--user)(?:[\s=]+|\\*[\"'],\s*)|\bcurl\s(?:[^\n|;]{0,300}?\s)?-u)"
    r"(?P<quote>\\*[\"'])?[^\s:\"'\\]+:)(?!\d{1,10}(?![^\s\"'\\]))(?(quote)(?:(?!(?P=quote))[^\n])+|[^\s\"'\\]+)"
)
_CARD: Final = Pattern(
    r"(?=[2-6])(?:(?<![\w.,-])|(?<=\\[nrt]))"
    r"(?:(?:4\d|5[1-5]|2[2-7]|6[05])\d\d([ -]?)\d{4}\1\d{4}\1\d{4}|3[47]\d\d([ -]?)\d{6}\2\d{5})(?![\w-])"
)
_NAMED: Final = Pattern(
    r"""
      (?P<word>
          (?P<password> passw(?:or)?d | passphrase | passcode | pwd | (?<=_)pass | (?<=db)pass )
        | (?P<strong> (?:api|access|account|secret|private|auth|encryption|signing|master|shared|client|service
                         |subscription|webhook|storage|license)[ _-]?key(?:[ _-]?(?:id|data))?
                      | secret | token | credentials? | authorization | (?<=_)dsn )
        | (?P<weak> (?: (?<![A-Za-z]) | (?<=\\[nrt]) ) (?: key | sig(?:nature)? ) )
      )
      (?:[ ]provided|[ ]value)?
      (?P<sep> [*_]{0,2}\\?["'`]?\]? \s{0,3} (?P<sign>:=|=>|={1,2}|:) [*_]{0,2} \s{0,3}
             | (?P<comma> \\?["'] , \s? b? (?=\\?["']) )
             | \s is:? \s{1,2} | (?<=--password) \s+ | (?<=--token)\s+ | (?<=-key)\s+ | (?<=-secret)\s+
             | (?<=token)\s(?=[A-Za-z+/_=]{0,40}\d[A-Za-z0-9+/_=]{19,}) )
      (?: (?P<quote> \\?["'`] ) (?P<quoted> (?:(?!(?P=quote)).){1,4096} ) (?= (?P=quote) )
        | \\?["'`]? (?P<bare> [^\s"'`,;\\<>]+ ) )
    """,
    re.VERBOSE | re.IGNORECASE,
)
NAMES: Final = ("passw", "passphrase", "passcode", "pwd", "_pass", "dbpass", "secret", "token", "credential", "key")
NAMES_TOO: Final = ("authorization", "dsn", "sig", "cookie", "login")
_PLACEHOLDER: Final = re.compile(
    r"none|null|nil|true|false|undefined|string|required|optional|hidden|unset|missing|empty|str\b.*|[x*.…•]+"
    r"|<.*|\$.*|\{.*|%[({].*|(?![\w.]*\d[\w.]*\d[\w.]*\d)(?:[a-z_]\w{0,18}\.)*[a-z_]\w{0,18}\(.*|(?:os|self|process|env|settings|config|secrets)\..*"
    r"|your[-_ ].*|[a-z_.]*(?:passw(?:or)?d|pwd|secret|token|key)[a-z_.]*",
    re.IGNORECASE | re.DOTALL,
)
_NO_SECRET: Final = re.compile(r"[0-9a-f-]+|[0-9]+|[A-Z0-9_]+|0x[0-9a-fA-F]+|[A-Za-z]+", re.ASCII)
_SOLID: Final = re.compile(r"[A-Za-z0-9+/_=]{20,}")
RUN: Final = Pattern(
    r"(?:(?<![A-Za-z0-9+/=_-])|(?<=\\[nrt]))(?<!base64,)(?<![A-Za-z0-9+/]{40}\n)(?!iVBORw0|R0lGOD|UklGR|JVBERi|PHN2Zy|UEsDB)[A-Za-z0-9_-]{40,200}(?![A-Za-z0-9+/=_-])"
    r"(?!\r?\n[A-Za-z0-9+/]{40})"
)
ENCODED: Final = Pattern(
    r"(?:(?<![A-Za-z0-9+/_\\-])|(?<=\\[nrt]))"
    r"(?:(?:[A-Za-z0-9+/]{60,76}(?:\r?\n|\\n))+[A-Za-z0-9+/]*|[A-Za-z0-9+/_-]{20,})(?:={1,2}|(?:%3[Dd]){1,2})?"
)
QUOTED: Final = Pattern(r"[^\s\"'<>\\%]*%[0-9A-Fa-f]{2}[^\s\"'<>\\]*")
_CHANGE: Final = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[a-z0-9]|(?<=[0-9])[A-Za-z]")
SHORTEST: Final = 5
"""Length of the shortest text with a secret, ``pwd=x``."""
_RANDOM: Final = 0.4
"""Minimum share of positions where a random run changes between lower case, upper case and digits; it is .6 for base
62, and about .2 for joined words."""
_ORDER: Final = re.compile(
    r"(?:order|invoice|tracking|reference|ticket|case|parcel|item)\W*(?:number|no|nr|id)?\W*\Z", re.I
)


def _if_varied(found: Found) -> str:
    value = found[2]
    varied = any(map(str.isdigit, value)) or value.endswith("=") or len(value) >= 20 or value[1:] != value[1:].lower()
    return f"{found[1]}{MARK}" if varied else found[0]


def _if_key(found: Found) -> str:
    """Redact a key after ``sk-``; words with hyphens can begin the same way."""
    parts = found[0].split("-")
    return MARK if any(map(str.isdigit, found[0])) or max(map(len, parts)) >= 20 else found[0]


def _if_pair(found: Found) -> str:
    try:
        pair = b64decode(found[2] + "=" * (-len(found[2]) % 4), validate=True)
    except ValueError:
        return found[0]
    # In only a few bytes, a colon may occur by chance.
    return f"{found[1]}{MARK}" if b":" in pair and (len(pair) > 5 or pair.decode("latin-1").isprintable()) else found[0]


def _if_pgpass(found: Found) -> str:
    """Redact the last field of a line that begins with a host; addresses and file positions have as many colons."""
    host = _HOST.search(found.string[max(0, found.start() - 256) : found.start()])
    if host is None or re.fullmatch(r"[0-9A-Fa-f]*", found["db"] + found["user"]):
        return found[0]
    port = found["port"]
    told = _FULL_HOST.fullmatch(host[1]) or _PORTS.fullmatch(port)
    return f"{found[1]}{MARK}" if told else found[0]


def _if_seed(found: Found) -> str:
    words = re.findall(r"[A-Za-z]{3,}", re.sub(r"\\[nrt]", " ", found[2]))
    return found[0] if _PROSE.search(" ".join(words[:12])) else f"{found[1]}{MARK}"


def if_random(found: Found) -> str:
    """Redact a long run of mixed case and digits as a key of unknown shape: words and identifiers look different."""
    run = found[0]
    some_digits = sum(map(str.isdigit, run)) >= 3
    return MARK if some_digits and not _NO_SECRET.fullmatch(run) and _varies(run) >= _RANDOM else run


def _varies(run: str) -> float:
    return len(_CHANGE.findall(run)) / len(run)


def _if_card(found: Found) -> str:
    """Redact a card number; one in ten numbers with an issuer's prefix passes the check (ISO/IEC 7812-1, annex B)."""
    digits = [int(digit) for digit in found[0] if digit.isdigit()]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    if (sum(digits[-1::-2]) + doubled) % 10 or _ORDER.search(found.string, max(0, found.start() - 40), found.start()):
        return found[0]
    return MARK


def _if_secret(found: Found) -> str:
    value, quoted = found["quoted"] or found["bare"], found["quoted"] is not None
    if value.startswith(MARK):
        return found[0]
    equals = found["sign"] is not None and "=" in found["sign"]
    tail = ""
    if not quoted:
        # In a URL query the next parameter follows.
        bare = value.partition("&")[0] if equals else value
        bare = bare.rstrip(".!?)]}*")
        value, tail = bare, value[len(bare) :]
    if not value or _PLACEHOLDER.fullmatch(value):
        return found[0]
    if found["comma"]:
        told = _opaque(value, 16) and not _NO_SECRET.fullmatch(value)
        told = told or (found["strong"] is not None and len(value) >= 32 and not value.isalpha())
    elif found["password"] or (equals and found["word"].lower() == "secret"):
        told = equals or quoted or (len(value) >= 6 and not value.isalpha())
    elif found["strong"]:
        header = quoted and "api" in found["word"].lower() and len(value) >= 6 and value.isalnum()
        told = header or _opaque(value, 8 if equals or quoted else 12)
    else:
        told = len(value) >= 16 and _opaque(value, 16) and not _NO_SECRET.fullmatch(value) and _varies(value) > 0.25
    kept = found[0][: len(found[0]) - len(value) - len(tail)]
    return f"{kept}{MARK}{tail}" if told else found[0]


def _opaque(value: str, least: int) -> bool:
    """Return whether a value after a secret's name looks like a secret, not like a word or a variable's name."""
    if _SOLID.match(value):
        return not re.fullmatch(r"[A-Z]+(?:_[A-Z]+)+|[a-z]+(?:_[a-z]+)+", value)
    mixed = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return len(value) >= least and " " not in value and mixed


Rule = tuple[tuple[str, ...], Pattern, str | Callable[[Found], str]]
"""Words of which the text must contain one, if there are any; the pattern; and the replacement for its matches."""

RULES: Final[tuple[Rule, ...]] = (
    (("private key",), _BLOCK, MARK),
    (("akia", "asia"), _PAIR, rf"\1{MARK}"),
    (_PREFIXES, _INSIDE, MARK),
    ((), LONG, MARK),
    (_PREFIXES, _PREFIXED, MARK),
    (("sk-",), _SK, _if_key),
    (("authorization",), _HEADER, _if_varied),
    (("bearer",), _BEARER, _if_varied),
    (("basic",), _BASIC_HEADER, _if_pair),
    (("basic",), _BASIC, _if_pair),
    (("://",), _DATABASE, rf"\1{MARK}"),
    (("://",), _IN_URL, rf"\1{MARK}"),
    (("://",), _ALONE_IN_URL, rf"\1{MARK}"),
    (("hook",), _HOOK, rf"\1{MARK}"),
    (("=",), _QUERY, rf"\1{MARK}"),
    (("-u", "--user"), _CURL, rf"\1{MARK}"),
    (("cookie",), _COOKIE, rf"\1{MARK}"),
    (("login",), _NETRC, rf"\1{MARK}"),
    (("_auth",), _NPMRC, rf"\1{MARK}"),
    (("auth",), _DOCKER, _if_pair),
    (("sshpass", "mysql", "mariadb"), _COMMAND, rf"\1{MARK}"),
    (("net use", "net.exe use"), _NET_USE, rf"\1\2{MARK}"),
    (("net user", "net.exe user"), _NET_USER, rf"\1{MARK}"),
    ((":",), _PGPASS, _if_pgpass),
    (SEED_NAMES, _SEED, _if_seed),
    ((*NAMES, *NAMES_TOO), _NAMED, _if_secret),
    ((), _CARD, _if_card),
)
