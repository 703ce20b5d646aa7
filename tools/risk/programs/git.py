"""Version control."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

from ..calls import Call, Handlers, finds, handlers, options_of
from ..places import Place, holds_secrets, place_of
from ..values import DATA, REMOTE, UNKNOWN, known, names
from .servers import serves

__all__ = ["GIT"]


_GIT_READS = names(
    "status log diff show blame grep ls-files ls-tree ls-remote rev-parse rev-list describe shortlog cat-file "
    "name-rev reflog show-ref for-each-ref merge-base whatchanged count-objects fsck help version var bugreport "
    "diff-tree diff-index show-branch check-ignore check-attr range-diff verify-commit verify-tag cherry annotate "
    "symbolic-ref diagnose column"
)


_GIT_LEAVES = names("clone ls-remote remote-update submodule lfs svn p4 archive")


_GIT_RUNS_KEYS = re.compile(
    r"(?:core\.(?:pager|editor|sshcommand|fsmonitor|hookspath|askpass|gitproxy|alternaterefscommand|worktree|attributesfile)"
    r"|pager\.\S+|alias\.\S+|diff\.(?:external|\S+\.(?:command|textconv))|difftool\.\S+|mergetool\.\S+|merge\.\S+\.driver"
    r"|filter\.\S+|credential\.(?:\S+\.)?helper|gpg\.(?:\S+\.)?program|sequence\.editor|browser\.\S+|man\.\S+|protocol\.\S+"
    r"|url\.\S+|uploadpack\.packobjectshook|receive\.\S+|include\.path|includeif\.\S+|init\.templatedir|sendemail\.\S+"
    r"|interactive\.difffilter|trailer\.\S+|http\.proxy|remote\.\S+\.(?:uploadpack|receivepack|vcs|proxy)"
    r"|submodule\.\S+\.update|tar\.\S+|web\.browser|instaweb\.\S+|imap\.tunnel)$",
    re.IGNORECASE,
)


_GIT_KEYS = re.compile(r"user\.signingkey|http\.(?:.+\.)?(?:proxy)?ssl\w+|sendemail\.\S+|gpg\.ssh\.\S+", re.IGNORECASE)
"""Settings whose value is a key file that git uses to sign or connect, and does not disclose."""


_GIT_WHERE = re.compile(
    r"(?:remote|submodule)\.(?:.+\.(?:url|pushurl)|pushdefault)$|branch\..+\.(?:remote|pushremote)$", re.IGNORECASE
)
"""Settings that say where a push goes."""


_HARMLESS = re.compile(r"(?:cat|less|more|less -\S+|delta|vim?|nano|emacs|code --wait|true|:|false|)$")


def _git(call: Call) -> str:
    takes = "-C -c --git-dir --work-tree --namespace --exec-path --super-prefix --config-env"
    options = options_of(call.args, takes, first=True)
    for setting in options.each("-c"):
        _set_key(call, *setting.partition("=")[::2])
    if any(re.match(r"--exec-path=|--config-env(?:=|$)", arg) for arg in call.args):
        call.find("option-runs", "git")
    words = options.operands
    if not words:
        return DATA
    command, rest = words[0], words[1:]
    _git_options(call, command, rest)
    _reads_keys(call, command, rest)
    if command in ("apply", "am") and REMOTE in (call.stdin or ""):
        call.find("unread-file", "a patch from outside")
    if (handler := _COMMANDS.get(command)) is not None:
        handler(replace(call, args=rest))
    elif command in _GIT_READS:
        if command == "ls-files":
            return ".\n" if all(arg.startswith("-") for arg in rest) else f"./{DATA}\n"
        return f"./{DATA}\n" if "--name-only" in rest else UNKNOWN
    elif command in _GIT_LEAVES:
        call.find("leaves")
        if command == "archive" and any(arg.startswith("--remote") for arg in rest):
            return REMOTE
        call.find("writes")
    elif command in _GIT_WRITES:
        call.find("writes")
    else:
        call.find("unknown-program", command)
    return UNKNOWN


_GIT_MESSAGES = names("commit notes tag merge commit-tree ci")
_GIT_MESSAGE = re.compile(r"-\w*[Ft]|--(?:file|template)")
"""Options that name the file of the message."""
_GIT_WRITES_TO = {
    "archive": ("-o", "--output"),
    "bundle": ("create",),
    "checkout-index": ("--prefix",),
    "fast-export": ("--export-marks",),
    "fast-import": ("--export-marks",),
    "format-patch": ("-o", "--output-directory"),
    "read-tree": ("--index-output",),
    "worktree": ("add",),
}
"""Options and words that precede a file or folder that is written; ``--output`` for all others."""
_GIT_PROGRAMS = names("--upload-pack --receive-pack --exec --open-files-in-pager --extcmd")


def _git_options(call: Call, command: str, rest: list[str]) -> None:
    """Judge options and addresses that run a program in any git command."""
    for place, arg in enumerate(rest):
        name, equals, value = arg.partition("=")
        value = value if equals else "".join(rest[place + 1 : place + 2])
        if name == "--config":
            _set_key(call, *value.partition("=")[::2])
        elif name in _GIT_PROGRAMS and command != "rebase":
            call.runs_by(f"git {command}", value)
        elif arg.startswith("ext::"):
            call.runs_by("git ext::", arg[5:])
        elif name in _GIT_WRITES_TO.get(command, ("--output",)):
            call.writes(value)
        elif name == "--template" and command == "init" and place_of(call.path(value)) is not Place.WORKSPACE:
            call.find("unread-file", value)
        elif name == "--unsafe-paths":
            call.find("unknown-target", "git apply")


def _reads_keys(call: Call, command: str, rest: list[str]) -> None:
    """Record key files that git would store or show: those outside the workspace, and those given as a message."""
    for place, arg in enumerate(rest):
        message = command in _GIT_MESSAGES and rest[place - 1 : place] and _GIT_MESSAGE.fullmatch(rest[place - 1])
        given = (re.match(r"-\w*F(?=.)|--\w[\w-]*=", arg) and re.sub(r"-\w*F|--\w[\w-]*=", "", arg, count=1)) or arg
        path = call.path(given)
        inside = place_of(path) in (Place.WORKSPACE, Place.WHOLE)
        if holds_secrets(path) and (not inside or message or (given != arg and command in _GIT_MESSAGES)):
            call.find("credentials", given)


def _set_key(call: Call, key: str, value: str) -> None:
    if not known(key):
        call.find("option-runs", "git -c")
        return
    if _GIT_WHERE.match(key):
        call.scope.redirected = True
    if holds_secrets(call.path(value)) and not _GIT_KEYS.match(key):
        # For example a template or a list, whose lines git stores, or shows if they are invalid.
        call.find("credentials", value)
    if not _GIT_RUNS_KEYS.match(key):
        return
    if key.lower().startswith("alias.") and not value.startswith("!"):
        call.shell(f"git {value}")
        return
    if re.match(r"(?:core\.(?:pager|editor)|pager\.|sequence\.editor)", key.lower()) and _HARMLESS.match(value):
        return
    if key.lower() == "credential.helper" and re.match(
        r"(?:cache|store|osxkeychain|manager\S*|libsecret|)(?:\s|$)", value
    ):
        return
    call.runs_by(f"git {key}", value.lstrip("!"))


_GIT_WRITES = names(
    "add commit init mv stash tag branch merge cherry-pick revert notes worktree bisect sparse-checkout "
    "gc repack prune pack-refs maintenance update-index read-tree write-tree commit-tree hash-object mktag mktree "
    "restore switch checkout format-patch request-pull rerere bundle flow feature release hotfix bugfix cleanup_x "
    "update-server-info fast-export send-pack_x citool gui difftool mergetool fast-import cherry-mark "
    "changelog authors ignore track_x pull-request lfs unpack-objects index-pack pack-objects"
)


def _push(call: Call) -> None:
    if any(re.match(r"--force|-f$|--delete|-d$|--mirror|--prune|\+|:", arg) for arg in call.args):
        call.find("history-rewrite", "pushed by force")
        call.find("changes-outside", "git push")
    elif call.scope.redirected or _elsewhere(_repositories(call.args)):
        call.find("sends", "git push")
    else:
        call.find("changes-elsewhere", "git push")


def _repositories(args: list[str]) -> list[str]:
    """Return the first repository among the operands, and those in options."""
    options = options_of(
        args, "--repo -o --push-option --receive-pack --exec --prefix -P --upload-pack --depth -j --jobs"
    )
    return [*options.operands[:1], *options.each("--repo")]


def _elsewhere(repositories: list[str]) -> bool:
    """Whether one of these is an address, rather than the name of a remote or a folder."""
    return any("://" in one or re.match(r"[^/]*:", one) or not known(one) for one in repositories)


def _subtree(call: Call) -> None:
    pushes = "push" in call.args[:3]
    words = ("push",) if pushes else ("add", "pull", "merge")
    rest = replace(call, args=[word for word in call.args if word not in words])
    (_push if pushes else _brings)(rest)


def _brings(call: Call) -> None:
    """fetch and pull: existing remotes are the user's own; other repositories bring code that nobody has read."""
    call.find("leaves")
    call.find("writes")
    call.scope.brought |= call.scope.redirected or _elsewhere(_repositories(call.args))


def _apply(call: Call) -> None:
    call.find("writes")
    if not {"--check", "--stat", "--numstat", "--summary"} & set(call.args):
        call.unpacks(options_of(call.args, "-p -C --directory --include --exclude").value("--directory") or ".")
    call.brings(call.args)


def _rewrites(call: Call) -> None:
    call.find("history-rewrite")
    for arg, following in pairwise([*call.args, ""]):
        if arg.endswith("-filter") or arg == "-d":
            call.shell(following)


def _rebase(call: Call) -> None:
    call.find("writes")
    for arg, following in pairwise([*call.args, ""]):
        if arg in ("-x", "--exec"):
            call.shell(following)
        elif arg.startswith(("--exec=", "-x")):
            call.shell(arg.partition("=")[2] or arg[2:])


def _bisect(call: Call) -> None:
    if call.args[:1] == ["run"]:
        call.run(call.args[1:])
    call.find("writes")


def _submodule(call: Call) -> None:
    words = [word for word in call.args if not word.startswith("-")]
    if words[:1] == ["foreach"]:
        call.shell(" ".join(words[1:]))
    call.find("leaves")
    call.find("writes")
    call.scope.redirected |= words[:1] == ["set-url"]
    call.scope.brought |= words[:1] == ["add"] or (words[:1] == ["update"] and call.scope.redirected)


_ONLY_READS = names("--list -l --get --get-all --get-regexp get list --show-origin")
_PERSONAL = re.compile(r"(?:user|color|init\.defaultbranch|pull|push|advice|core\.(?:autocrlf|quotepath))")
"""Settings that people commonly set for all their repositories."""


def _config(call: Call) -> None:
    args = call.args
    words = [arg for arg in args if not arg.startswith("-") and arg != "set"]
    changes = len(words) > 1 or not {"--unset", "-e", "--edit", "--add"}.isdisjoint(args)
    if not changes or not _ONLY_READS.isdisjoint(args):
        return
    before = len(call.found)
    key, value = [*words, "", ""][:2]
    _set_key(call, key, value)
    if any(code == "option-runs" for code, _ in call.found[before:]):
        call.find("protected-write", key)
    elif not {"--global", "--system", "--file", "-f"}.isdisjoint(args) and not _PERSONAL.match(key.lower()):
        call.find("environment", key)
    else:
        call.find("writes")


def _remote(call: Call) -> None:
    command = "".join(call.args[:1])
    if command in ("add", "set-url", "rename", "remove", "rm", "set-head"):
        if any(arg.startswith("ext::") for arg in call.args):
            call.find("option-runs", "git ext::")
        call.find("writes")
        call.scope.redirected |= command in ("add", "set-url")
    elif command in ("update", "show", "prune"):
        call.find("leaves")


def _clone(call: Call) -> None:
    takes = "-c -b -o -u --branch --depth --origin --config --upload-pack --template --reference -j --jobs --filter"
    options = options_of(call.args, takes)
    for setting in options.each("-c"):
        _set_key(call, *setting.partition("=")[::2])
    call.runs_by("git clone -u", *options.each("-u"))
    for folder in options.each("--template"):
        call.find("unread-file", folder)
    if "--recurse-submodules" in options:
        call.find("leaves", "submodules")
    call.find("leaves")
    call.writes(*options.operands[1:2])
    call.scope.brought = True


def _difftool(call: Call) -> None:
    for arg, following in pairwise([*call.args, ""]):
        if arg in ("-x", "--extcmd"):
            call.shell(following)
    call.find("writes")


def _grep(call: Call) -> None:
    call.runs_by("git grep -O", *(arg[2:] for arg in call.args if arg.startswith("-O") and len(arg) > 2))


_COMMANDS: Handlers = handlers(
    {
        "push send-pack": _push,
        "subtree": _subtree,
        "fetch pull": _brings,
        "send-email imap-send http-push": finds("sends"),
        "daemon instaweb": finds("", where=r"(?:--local|-l)$", otherwise="opens"),
        "credential": finds("credentials", where=r"fill$", otherwise="writes", first=True),
        "apply am": _apply,
        "maintenance": finds("services", where=r"(?:un)?register$|start$|stop$", otherwise="writes", first=True),
        "reset": finds("history-rewrite: reset --hard", where=r"--hard$", otherwise="writes"),
        "clean": finds("", where=r"-\w*n|--dry-run", otherwise="mass-delete: git clean"),
        "checkout restore switch": finds(
            "history-rewrite: drops all changes", where=r"(?:\.|\*|:/|-f|--force)$", otherwise="writes"
        ),
        "branch": finds("history-rewrite", where=r"-\w*D|--delete$|-\w*f|--force", otherwise="writes"),
        "stash": finds("history-rewrite", where=r"(?:drop|clear)$", otherwise="writes", first=True),
        "reflog": finds("history-rewrite: reflog", where=r"(?:expire|delete)$", first=True),
        "gc prune": finds("history-rewrite", where=r"--prune=now|--aggressive$", otherwise="writes"),
        "filter-branch filter-repo update-ref": _rewrites,
        "rebase": _rebase,
        "bisect": _bisect,
        "submodule": _submodule,
        "config": _config,
        "remote": _remote,
        "clone": _clone,
        "difftool": _difftool,
        "grep": _grep,
    }
)
"""Git command -> the handler of its arguments."""


_HG_RUNS = re.compile(r"(?:alias|hooks|extensions|ui\.ssh|ui\.editor|ui\.merge)\S*=|^--debugger")
_HG_READS = names("status st diff log info annotate blame cat ls list help summary id")


def _hg(call: Call) -> None:
    if any(map(_HG_RUNS.search, call.args)):
        call.find("option-runs", call.name)
    words = [arg for arg in call.args if not arg.startswith("-")]
    _reads_keys(call, words[0] if words else "", call.args)
    command, outside = (words[0] if words else ""), any("://" in word for word in words)
    if any(re.search(r"^paths\.|=paths\.", arg) for arg in call.args):
        outside = True
    if command in ("serve", "server"):
        serves(call, call.args, everybody=True)
    if (command in ("push", "commit", "ci", "import") and call.name == "svn") or command == "push":
        call.find("sends" if outside else "changes-elsewhere", command)
    elif command in ("strip", "purge", "rollback", "delete", "del", "rm", "obliterate"):
        call.find("deletes", command)
    elif command in ("clone", "pull", "update", "up", "checkout", "co", "incoming", "outgoing", "switch", "export"):
        call.find("leaves")
        call.scope.brought |= outside
    elif command and command not in _HG_READS:
        call.find("writes")


GIT: Handlers = {"git": _git, "hg": _hg, "svn": _hg}
