"""Version control."""

from __future__ import annotations

import re

from ..calls import Call, Handler, options_of
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
"""Settings whose value is the file of a key that git signs or connects with, and keeps to itself."""


_GIT_WHERE = re.compile(
    r"(?:remote|submodule)\.(?:.+\.(?:url|pushurl)|pushdefault)$|branch\..+\.(?:remote|pushremote)$", re.IGNORECASE
)
"""Settings that say where a push goes."""


_HARMLESS = re.compile(r"(?:cat|less|more|less -\S+|delta|vim?|nano|emacs|code --wait|true|:|false|)$")


def _git(call: Call) -> str:
    takes = "-C -c --git-dir --work-tree --namespace --exec-path --super-prefix --config-env"
    options = options_of(call.args, takes, first=True)
    for setting in options.each("-c"):
        key, _, value = setting.partition("=")
        _git_key(call, key, value)
    if any(re.match(r"--exec-path=|--config-env(?:=|$)", arg) for arg in call.args):
        call.find("option-runs", "git")
    words = options.operands
    if not words:
        return DATA
    command, rest = words[0], words[1:]
    handler = _GIT.get(command)
    _git_options(call, command, rest)
    _reads_keys(call, command, rest)
    if command in ("apply", "am") and REMOTE in (call.stdin or ""):
        call.find("unread-file", "a patch from outside")
    if command in _GIT_READS and handler is None:
        if command == "ls-files":
            return ".\n" if all(arg.startswith("-") for arg in rest) else f"./{DATA}\n"
        if "--name-only" in rest:
            return f"./{DATA}\n"
        return UNKNOWN
    if handler is not None:
        handler(call, rest)
        return UNKNOWN
    if command in _GIT_LEAVES:
        call.find("leaves")
        if command == "archive" and any(arg.startswith("--remote") for arg in rest):
            return REMOTE
    elif command not in _GIT_WRITES:
        call.find("unknown-program", command)
        return UNKNOWN
    call.find("writes")
    return UNKNOWN


_GIT_MESSAGES = names("commit notes tag merge commit-tree ci")
_GIT_MESSAGE = re.compile(r"-\w*[Ft]|--(?:file|template)")
"""Options that say which file is the message."""
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
"""Options and words after which a file or folder stands that is written, other than ``--output``."""
_GIT_PROGRAMS = names("--upload-pack --receive-pack --exec --open-files-in-pager --extcmd")


def _git_options(call: Call, command: str, rest: list[str]) -> None:
    """Options and addresses that run a program, whatever the command of git is."""
    for place, arg in enumerate(rest):
        name, equals, value = arg.partition("=")
        value = value if equals else "".join(rest[place + 1 : place + 2])
        if name == "--config":
            _git_key(call, *value.partition("=")[::2])
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
    """Files of keys that it would keep or show: those outside the workspace, and what is given for a message."""
    for place, arg in enumerate(rest):
        message = command in _GIT_MESSAGES and rest[place - 1 : place] and _GIT_MESSAGE.fullmatch(rest[place - 1])
        given = (re.match(r"-\w*F(?=.)|--\w[\w-]*=", arg) and re.sub(r"-\w*F|--\w[\w-]*=", "", arg, count=1)) or arg
        path = call.path(given)
        inside = place_of(path) in (Place.WORKSPACE, Place.WHOLE)
        if holds_secrets(path) and (not inside or message or (given != arg and command in _GIT_MESSAGES)):
            call.find("credentials", given)


def _git_key(call: Call, key: str, value: str) -> None:
    if not known(key):
        call.find("option-runs", "git -c")
        return
    if _GIT_WHERE.match(key):
        call.scope.redirected = True
    if holds_secrets(call.path(value)) and not _GIT_KEYS.match(key):
        # Such as of a template or a list, whose lines git keeps, or shows where they are none.
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


def _git_push(call: Call, rest: list[str]) -> None:
    if any(re.match(r"--force|-f$|--delete|-d$|--mirror|--prune", arg) or re.match(r"\+|:", arg) for arg in rest):
        call.find("history-rewrite", "pushed by force")
        call.find("changes-outside", "git push")
    elif call.scope.redirected or _elsewhere(_repositories(rest)):
        call.find("sends", "git push")
    else:
        call.find("changes-elsewhere", "git push")


def _repositories(rest: list[str]) -> list[str]:
    """The repository that is named first, and in options."""
    options = options_of(
        rest, "--repo -o --push-option --receive-pack --exec --prefix -P --upload-pack --depth -j --jobs"
    )
    return [*options.operands[:1], *options.each("--repo")]


def _elsewhere(repositories: list[str]) -> bool:
    """Whether one of these is an address, and not the name of a remote or a folder."""
    return any("://" in one or re.match(r"[^/]*:", one) or not known(one) for one in repositories)


def _git_subtree(call: Call, rest: list[str]) -> None:
    if rest[:1] == ["push"] or "push" in rest[:3]:
        _git_push(call, [word for word in rest if word != "push"])
    else:
        _git_brings(call, [word for word in rest if word not in ("add", "pull", "merge")])


def _git_brings(call: Call, rest: list[str]) -> None:
    """fetch and pull: from the remotes that there were, the user's own; from others, what nobody has read."""
    call.find("leaves")
    call.find("writes")
    call.scope.brought |= call.scope.redirected or _elsewhere(_repositories(rest))


def _git_sends(call: Call, rest: list[str]) -> None:
    call.find("sends")


def _git_listens(call: Call, rest: list[str]) -> None:
    if not {"--local", "-l"} & set(rest):
        call.find("opens")


def _git_credential(call: Call, rest: list[str]) -> None:
    call.find("credentials" if rest[:1] == ["fill"] else "writes")


def _git_apply(call: Call, rest: list[str]) -> None:
    call.find("writes")
    if not {"--check", "--stat", "--numstat", "--summary"} & set(rest):
        call.unpacks(options_of(rest, "-p -C --directory --include --exclude").value("--directory") or ".")
    call.brings(rest)


def _git_maintenance(call: Call, rest: list[str]) -> None:
    call.find("services" if rest[:1] in (["start"], ["register"], ["stop"], ["unregister"]) else "writes")


def _git_reset(call: Call, rest: list[str]) -> None:
    call.find("history-rewrite" if "--hard" in rest else "writes", "reset --hard" if "--hard" in rest else "")


def _git_clean(call: Call, rest: list[str]) -> None:
    dry = any(re.match(r"-\w*n|--dry-run", arg) for arg in rest)
    if not dry:
        call.find("mass-delete", "git clean")


def _git_checkout(call: Call, rest: list[str]) -> None:
    everything = any(arg in (".", "*", ":/", "-f", "--force") for arg in rest)
    call.find("history-rewrite" if everything else "writes", "drops all changes" if everything else "")


def _git_branch(call: Call, rest: list[str]) -> None:
    call.find("history-rewrite" if any(re.match(r"-\w*D|--delete$|-\w*f|--force", arg) for arg in rest) else "writes")


def _git_stash(call: Call, rest: list[str]) -> None:
    call.find("history-rewrite" if rest[:1] in (["drop"], ["clear"]) else "writes")


def _git_reflog(call: Call, rest: list[str]) -> None:
    if rest[:1] in (["expire"], ["delete"]):
        call.find("history-rewrite", "reflog")


def _git_gc(call: Call, rest: list[str]) -> None:
    call.find(
        "history-rewrite" if any(arg.startswith("--prune=now") or arg == "--aggressive" for arg in rest) else "writes"
    )


def _git_rewrites(call: Call, rest: list[str]) -> None:
    call.find("history-rewrite")
    for place, arg in enumerate(rest):
        if arg.endswith("-filter") or arg == "-d":
            call.shell("".join(rest[place + 1 : place + 2]))


def _git_rebase(call: Call, rest: list[str]) -> None:
    call.find("writes")
    for place, arg in enumerate(rest):
        if arg in ("-x", "--exec"):
            call.shell("".join(rest[place + 1 : place + 2]))
        elif arg.startswith(("--exec=", "-x")):
            call.shell(arg.partition("=")[2] or arg[2:])


def _git_bisect(call: Call, rest: list[str]) -> None:
    if rest[:1] == ["run"]:
        call.run(rest[1:])
    call.find("writes")


def _git_submodule(call: Call, rest: list[str]) -> None:
    words = [word for word in rest if not word.startswith("-")]
    if words[:1] == ["foreach"]:
        call.shell(" ".join(words[1:]))
    call.find("leaves")
    call.find("writes")
    call.scope.redirected |= words[:1] == ["set-url"]
    call.scope.brought |= words[:1] == ["add"] or (words[:1] == ["update"] and call.scope.redirected)


def _git_config(call: Call, rest: list[str]) -> None:
    reads = any(
        arg in ("--list", "-l", "--get", "--get-all", "--get-regexp", "get", "list", "--show-origin") for arg in rest
    )
    words = [arg for arg in rest if not arg.startswith("-") and arg != "set"]
    if reads or (len(words) < 2 and not any(arg in ("--unset", "-e", "--edit", "--add") for arg in rest)):
        return
    before = len(call.found)
    _git_key(call, words[0] if words else "", words[1] if len(words) > 1 else "")
    if any(code == "option-runs" for code, _ in call.found[before:]):
        call.find("protected-write", words[0])
    elif any(arg in ("--global", "--system", "--file", "-f") for arg in rest) and not re.match(
        r"(?:user|color|init\.defaultbranch|pull|push|advice|core\.(?:autocrlf|quotepath))",
        words[0].lower() if words else "",
    ):
        call.find("environment", words[0] if words else "")
    else:
        call.find("writes")


def _git_remote(call: Call, rest: list[str]) -> None:
    if rest[:1] in (["add"], ["set-url"], ["rename"], ["remove"], ["rm"], ["set-head"]):
        if any(arg.startswith("ext::") for arg in rest):
            call.find("option-runs", "git ext::")
        call.find("writes")
        call.scope.redirected |= rest[0] in ("add", "set-url")
    elif rest[:1] in (["update"], ["show"], ["prune"]):
        call.find("leaves")


def _git_clone(call: Call, rest: list[str]) -> None:
    options = options_of(
        rest, "-c -b -o -u --branch --depth --origin --config --upload-pack --template --reference -j --jobs --filter"
    )
    for setting in options.each("-c"):
        _git_key(call, *setting.partition("=")[::2])
    call.runs_by("git clone -u", *options.each("-u"))
    for folder in options.each("--template"):
        call.find("unread-file", folder)
    if "--recurse-submodules" in options:
        call.find("leaves", "submodules")
    call.find("leaves")
    call.writes(*options.operands[1:2])
    call.scope.brought = True


def _git_difftool(call: Call, rest: list[str]) -> None:
    for place, arg in enumerate(rest):
        if arg in ("-x", "--extcmd"):
            call.shell("".join(rest[place + 1 : place + 2]))
    call.find("writes")


def _git_grep(call: Call, rest: list[str]) -> None:
    call.runs_by("git grep -O", *(arg[2:] for arg in rest if arg.startswith("-O") and len(arg) > 2))


_GIT = {
    "push": _git_push,
    "send-pack": _git_push,
    "subtree": _git_subtree,
    "fetch": _git_brings,
    "pull": _git_brings,
    "send-email": _git_sends,
    "imap-send": _git_sends,
    "http-push": _git_sends,
    "daemon": _git_listens,
    "instaweb": _git_listens,
    "credential": _git_credential,
    "apply": _git_apply,
    "am": _git_apply,
    "maintenance": _git_maintenance,
    "reset": _git_reset,
    "clean": _git_clean,
    "checkout": _git_checkout,
    "restore": _git_checkout,
    "switch": _git_checkout,
    "branch": _git_branch,
    "stash": _git_stash,
    "reflog": _git_reflog,
    "gc": _git_gc,
    "prune": _git_gc,
    "filter-branch": _git_rewrites,
    "filter-repo": _git_rewrites,
    "update-ref": _git_rewrites,
    "rebase": _git_rebase,
    "bisect": _git_bisect,
    "submodule": _git_submodule,
    "config": _git_config,
    "remote": _git_remote,
    "clone": _git_clone,
    "difftool": _git_difftool,
    "grep": _git_grep,
}


_HG_READS = names("status st diff log info annotate blame cat ls list help summary id")


def _hg(call: Call) -> None:
    for arg in call.args:
        if re.search(r"(?:alias|hooks|extensions|ui\.ssh|ui\.editor|ui\.merge)\S*=", arg) or arg.startswith(
            "--debugger"
        ):
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


GIT: dict[str, Handler] = {"git": _git, "hg": _hg, "svn": _hg}
