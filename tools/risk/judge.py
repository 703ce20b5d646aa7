"""Which program a word names, and which handler judges it."""

from __future__ import annotations

import re

from .behind import runs_what_it_is_given
from .calls import Call, Judge, handlers, options_of
from .characters import plain_letters
from .places import Place, holds_secrets, place_of
from .programs.code import INTERPRETERS
from .programs.containers import CONTAINERS
from .programs.files import FILES
from .programs.git import GIT
from .programs.machine import MACHINE
from .programs.network import NETWORK
from .programs.outputs import runs_by_options, writes_as_well
from .programs.packages import PACKAGES
from .programs.repeating import REPEATING
from .programs.running import RUNNING, run_file, run_text, sets_up
from .programs.servers import APPLICATIONS, SERVERS, everywhere, serves
from .programs.sources import comes_from
from .programs.streams import STREAMS
from .programs.tables import PROGRAMS, SETS_UP, SUBCOMMANDS, Verdicts
from .values import DATA, HOLES, REMOTE, UNKNOWN, known, names

__all__ = ["judged"]

_HANDLERS = handlers(
    STREAMS, FILES, NETWORK, MACHINE, GIT, CONTAINERS, PACKAGES, REPEATING, SERVERS, INTERPRETERS, RUNNING
)
_SYSTEM_BIN = re.compile(
    r"/(?:usr/|usr/local/|snap/|opt/homebrew/|opt/local/|nix/store/[^/]+/)?s?bin/|/usr/lib(?:exec)?/|/opt/[^/]+/bin/"
    r"|/usr/local/[\w.-]+/bin/|/System/Library/|/Library/|/mnt/c/Windows/|/mingw64/bin/"
)
_VERSIONED = re.compile(
    r"(?:python|pip|ruby|perl|php|node|lua|gcc|g\+\+|clang|tclsh|gawk|java|pypy|ipython)(?=-?\d[\d.]*$)"
)
_HELP = ("--help", "--version", "help", "-help")


def judged(words: list[str], stdin: str | None, judge: Judge) -> tuple[Call, str]:
    """Judge a simple command.

    Args:
        words: The program and its arguments, expanded.
        stdin: What is piped into it; None if nothing is.
        judge: Judges the commands that it runs.

    Returns:
        What was found, and what the command prints as far as that can be known.
    """
    word = words[0]
    call = Call(_base(word), words[1:], stdin, judge)
    printed = _said(call, word)
    comes_from(call)
    if call.name in APPLICATIONS:
        serves(call, call.args, everybody=False)
    elif any(code in _MAY_LISTEN for code, _ in call.found) and everywhere(call.args):
        call.find("opens")
    if (call.name not in _HANDLERS or call.name in PACKAGES) and any(code in _MAY_LISTEN for code, _ in call.found):
        runs_what_it_is_given(call)
    return call, printed


_SUBCOMMANDS_DEEP = 5
_DRY_RUN = re.compile(r"--dry-?run(?:=(?:client|server|true))?$")
_MAY_LISTEN = ("workspace-code", "unknown-program")


def _said(call: Call, word: str) -> str:
    if not known(word) and not _known_behind(call, word):
        call.find("remote-code" if REMOTE in word else "unknown-command")
        _unknown(call)
        return UNKNOWN
    if ahead := next((path for folder in call.scope.ahead if (path := f"{folder}/{word}") in call.scope.files), None):
        return run_text(call, call.scope.files[ahead], call.args)
    if re.search(r"[*?]|\[.*\]", word) and re.search(r"[a-zA-Z/]", word) and "=" not in word:
        call.find("hidden-name", word)
    if not word.isascii() and (plain := plain_letters(call.name)) != call.name:
        call.name = plain
        call.find("look-alike" if _is_known(plain) else "unknown-program")
    if "/" in word and not _installed(call, word):
        return UNKNOWN
    if len(call.args) == 1 and call.args[0] in _HELP and call.name not in ("eval", "source", "."):
        return UNKNOWN
    printed = _judge(call)
    return DATA if printed is None else printed


def _base(word: str) -> str:
    name = word.replace("\\", "/").rpartition("/")[2] if re.match(r"\w:\\|\\\\", word) else word.rpartition("/")[2]
    name = name.removesuffix(".exe")
    found = _VERSIONED.match(name)
    return found[0] if found else name


def _is_known(name: str) -> bool:
    return name in _HANDLERS or name in PROGRAMS or name in SUBCOMMANDS


def _known_behind(call: Call, word: str) -> bool:
    """Whether only the folder is unknown, as in ``$JAVA_HOME/bin/java``."""
    folder, _, name = word.rpartition("/")
    return known(name) and REMOTE not in folder and folder.endswith("/bin") and _is_known(call.name)


def _installed(call: Call, word: str) -> bool:
    """Whether a path leads to an installed program; if not, record the rules for running it."""
    path = call.path(word)
    if path in call.scope.files:
        run_file(call, word, call.args)
        return False
    if _SYSTEM_BIN.match(path) or (word[:1] not in "/.~" and "\\" in word):
        return True
    if re.search(r"(?:^|/)(?:\.?v?env[\w.-]*|node_modules)/(?:.*/)?\.?(?:bin|Scripts)/[^/]+$", path) and _is_known(
        call.name
    ):
        call.find("workspace-code")
        return True
    if not known(word):
        return True
    if place_of(path) is Place.SYSTEM and not _is_known(call.name):
        call.find("unknown-program", word)
        return False
    run_file(call, word, call.args)
    if _is_known(call.name):
        return True
    call.reads(*(arg for arg in call.args if "/" in arg))
    return False


def _judge(call: Call) -> str | None:
    name = call.name
    runs_by_options(call)
    handler = _HANDLERS.get(name)
    if handler is not None:
        return handler(call)
    if name in SETS_UP and (printed := sets_up(call)) is not None:
        return printed
    if (verdicts := SUBCOMMANDS.get(name)) is not None:
        _subcommand(call, verdicts)
        return None
    code = PROGRAMS.get(name)
    if code is None and "." in name:  # mkfs.ext4, systemctl.bak
        code = PROGRAMS.get(name.partition(".")[0])
    if code is None:
        call.find("unknown-program")
        _unknown(call)
        return None
    if code in ("reads", "prints"):
        _options(call)
        writes_as_well(call)
    if code == "reads":
        call.reads(*(arg for arg in call.args if not arg.startswith("-")))
    elif code == "writes":
        call.find("writes")
        call.writes(*(arg for arg in call.args if not arg.startswith("-") and call.path(arg)[:1] not in HOLES))
    elif code != "prints":
        call.find(code)
    if code == "workspace-code":
        call.obeys(*call.args)
    elif code == "writes" and any(map(call.scope.fetched, call.args)):
        call.scope.brought = True  # what it makes from that, such as a program
    return None


def _options(call: Call) -> None:
    """Judge the programs and key files named in the options of a program that otherwise only reads."""
    options = options_of(call.args, "-f -m --pager --preview --file --from-file --to-file --files0-from --options")
    call.starts(*options.each("--pager --preview"))
    for name, value in options.given:
        if name != "--pager" and holds_secrets(call.path(value)):
            call.find("credentials", value)


def _unknown(call: Call) -> None:
    """Record what can be found about an unknown program: whether it is given a key or the like."""
    for arg in call.args:
        value = arg.rpartition("=")[2] if arg.startswith("-") else arg
        # It may fetch what is at an address, and save it under any name.
        call.scope.brought |= re.match(r"(?:https?|ftp|s3|gs|scp|sftp)://", value) is not None
        if "/" in value or value.startswith("."):
            before = len(call.found)
            call.reads(value)
            call.found[before:] = [one for one in call.found[before:] if one[0] == "credentials"]


def _asks_for_help(words: list[str]) -> bool:
    """Whether only subcommands precede the last word; a command that is passed on takes ``--help`` for itself."""
    return len(words) < _SUBCOMMANDS_DEEP and all(re.fullmatch(r"[a-z][a-z0-9-]*", word) for word in words)


def _subcommand(call: Call, verdicts: Verdicts) -> None:
    """Record the rule for the first non-option words, using the longest listed match."""
    if not call.args or (call.args[-1] in ("-h", "--help") and _asks_for_help(call.args[:-1])):
        return
    words = [arg for arg in call.args if not arg.startswith("-")]
    flags = [arg.partition("=")[0] for arg in call.args if arg.startswith("-")]
    code = next((verdicts[flag] for flag in flags if flag in verdicts), "")
    for count in (3, 2, 1):
        key = " ".join(words[:count])
        if len(words) >= count and key in verdicts:
            code = code or verdicts[key]
            break
    else:
        verbs = [verb for word in words[:3] for verb in (word, word.partition("-")[0])]
        last = next((verdicts[verb] for verb in verbs if verb in verdicts), "")
        code = code or last or verdicts.get("*", "unknown-program" if words else "prints")
    if code == "changes-outside" and any(map(_DRY_RUN.match, call.args)):
        code = "leaves"
    if code != "prints":
        call.find(code, " ".join(words[:2]))
    call.scope.brought |= not _FETCHING.isdisjoint(words[:4]) and call.name in _STORES
    _unknown(call)


_FETCHING = names("download clone pull cp sync copy rsync checkout get mirror")
_STORES = names(
    "aws gcloud gsutil az azcopy mc b2 doctl oci ibmcloud hcloud aliyun gh glab hub helm dolt lxc multipass"
)
"""Programs that fetch files from outside, and the subcommands that do so."""
