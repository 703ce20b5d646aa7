"""Programs of a developer's day: version control, containers, package managers and builds."""

from __future__ import annotations

import re

from .calls import Call, Handler, options_of
from .places import Place, place_of
from .values import DATA, UNKNOWN, known

__all__ = ["PROJECTS"]

_GIT_READS = frozenset(
    "status log diff show blame grep ls-files ls-tree ls-remote rev-parse rev-list describe shortlog cat-file name-rev reflog"
    " show-ref for-each-ref merge-base whatchanged count-objects fsck help version var bugreport diff-tree diff-index show-branch"
    " check-ignore check-attr range-diff verify-commit verify-tag cherry annotate symbolic-ref diagnose column".split()
)
_GIT_LEAVES = frozenset("fetch pull clone ls-remote remote-update submodule lfs svn p4 archive".split())
_GIT_RUNS_KEYS = re.compile(
    r"(?:core\.(?:pager|editor|sshcommand|fsmonitor|hookspath|askpass|gitproxy|alternaterefscommand|worktree|attributesfile)"
    r"|pager\.\S+|alias\.\S+|diff\.(?:external|\S+\.(?:command|textconv))|difftool\.\S+|mergetool\.\S+|merge\.\S+\.driver"
    r"|filter\.\S+|credential\.(?:\S+\.)?helper|gpg\.(?:\S+\.)?program|sequence\.editor|browser\.\S+|man\.\S+|protocol\.\S+"
    r"|url\.\S+|uploadpack\.packobjectshook|receive\.\S+|include\.path|includeif\.\S+|init\.templatedir|sendemail\.\S+"
    r"|interactive\.difffilter|trailer\.\S+|http\.proxy|remote\.\S+\.(?:uploadpack|receivepack|vcs|proxy)|core\.excludesfile_x"
    r"|submodule\.\S+\.update|tar\.\S+|web\.browser|instaweb\.\S+|imap\.tunnel)$",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"(?:cat|less|more|less -\S+|delta|vim?|nano|emacs|code --wait|true|:|false|)$")


def _git(call: Call) -> str:
    takes = "-C -c --git-dir --work-tree --namespace --exec-path --super-prefix --config-env"
    options = options_of(call.args, takes, first=True)
    for setting in options.each("-c"):
        key, _, value = setting.partition("=")
        _git_key(call, key, value)
    if any("--exec-path=" in arg or arg == "--config-env" for arg in call.args):
        call.find("option-runs", "git")
    words = options.operands
    if not words:
        return DATA
    command, rest = words[0], words[1:]
    handler = _GIT.get(command)
    for arg in rest:
        name, equals, value = arg.partition("=")
        if name in ("--upload-pack", "--receive-pack", "--exec", "--open-files-in-pager", "--extcmd", "--config") or (
            arg in ("-O", "-u") and command in ("grep", "clone_x")
        ):
            if name == "--config":
                _git_key(call, *(value if equals else "".join(rest[rest.index(arg) + 1 :][:1])).partition("=")[::2])
            elif handler is not _git_rebase:
                call.find("option-runs", f"git {command}")
                call.shell(value if equals else "".join(rest[rest.index(arg) + 1 :][:1]))
        if arg.startswith("ext::"):
            call.find("option-runs", "git ext::")
            call.shell(arg[5:])
        if name == "--output" and value:
            call.writes(value)
    if command in _GIT_READS and handler is None:
        if (
            command in ("ls-files", "grep", "diff")
            and any(arg in ("--name-only", "-l", "--files-with-matches") for arg in rest)
            or command == "ls-files"
        ):
            return f"./{DATA}\n"
        return UNKNOWN
    if handler is not None:
        handler(call, rest)
        return UNKNOWN
    if command in _GIT_LEAVES:
        call.find("leaves")
    elif command not in _GIT_WRITES:
        call.find("unknown-program", command)
        return UNKNOWN
    call.find("writes")
    return UNKNOWN


def _git_key(call: Call, key: str, value: str) -> None:
    if not known(key):
        call.find("option-runs", "git -c")
        return
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
    call.find("option-runs", f"git {key}")
    call.shell(value.lstrip("!"))


_GIT_WRITES = frozenset(
    "add commit init mv stash tag branch merge cherry-pick revert apply am notes worktree bisect sparse-checkout gc repack prune"
    " pack-refs maintenance update-index read-tree write-tree commit-tree hash-object mktag mktree restore switch checkout"
    " format-patch request-pull rerere bundle flow feature release hotfix bugfix cleanup_x update-server-info fast-export send-pack_x"
    " citool gui instaweb difftool mergetool fast-import cherry-mark changelog authors ignore track_x pull-request lfs subtree"
    " unpack-objects index-pack pack-objects".split()
)


def _git_push(call: Call, rest: list[str]) -> None:
    if any(re.match(r"--force|-f$|--delete|-d$|--mirror|--prune", arg) or re.match(r"\+|:", arg) for arg in rest):
        call.find("history-rewrite", "pushed by force")
        call.find("changes-outside", "git push")
    elif any("://" in arg or re.match(r"\S+@\S+:", arg) for arg in rest):
        call.find("sends", "git push")
    else:
        call.find("changes-elsewhere", "git push")


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


def _git_config(call: Call, rest: list[str]) -> None:
    reads = any(
        arg in ("--list", "-l", "--get", "--get-all", "--get-regexp", "get", "list", "--show-origin") for arg in rest
    )
    words = [arg for arg in rest if not arg.startswith("-") and arg != "set"]
    if reads or len(words) < 2 and not any(arg in ("--unset", "-e", "--edit", "--add") for arg in rest):
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
    elif rest[:1] in (["update"], ["show"], ["prune"]):
        call.find("leaves")


def _git_clone(call: Call, rest: list[str]) -> None:
    options = options_of(
        rest, "-c -b -o -u --branch --depth --origin --config --upload-pack --template --reference -j --jobs --filter"
    )
    for setting in options.each("-c"):
        _git_key(call, *setting.partition("=")[::2])
    for text in options.each("-u"):
        call.find("option-runs", "git clone -u")
        call.shell(text)
    for folder in options.each("--template"):
        call.find("unread-file", folder)
    if "--recurse-submodules" in options:
        call.find("leaves", "submodules")
    call.find("leaves")
    call.writes(*options.operands[1:2])


def _git_difftool(call: Call, rest: list[str]) -> None:
    for place, arg in enumerate(rest):
        if arg in ("-x", "--extcmd"):
            call.shell("".join(rest[place + 1 : place + 2]))
    call.find("writes")


def _git_grep(call: Call, rest: list[str]) -> None:
    for arg in rest:
        if arg.startswith("-O") and len(arg) > 2:
            call.find("option-runs", "git grep -O")
            call.shell(arg[2:])


_GIT = {
    "push": _git_push, "reset": _git_reset, "clean": _git_clean, "checkout": _git_checkout, "restore": _git_checkout,
    "switch": _git_checkout, "branch": _git_branch, "stash": _git_stash, "reflog": _git_reflog, "gc": _git_gc, "prune": _git_gc,
    "filter-branch": _git_rewrites, "filter-repo": _git_rewrites, "update-ref": _git_rewrites, "rebase": _git_rebase,
    "bisect": _git_bisect, "submodule": _git_submodule, "config": _git_config, "remote": _git_remote, "clone": _git_clone,
    "difftool": _git_difftool, "grep": _git_grep,
}  # fmt: skip


def _hg(call: Call) -> str:
    for arg in call.args:
        if re.search(r"(?:alias|hooks|extensions|ui\.ssh|ui\.editor|ui\.merge)\S*=", arg) or arg.startswith(
            "--debugger"
        ):
            call.find("option-runs", call.name)
    words = [arg for arg in call.args if not arg.startswith("-")]
    command = words[0] if words else ""
    if command in ("push", "commit", "ci", "import") and call.name == "svn" or command == "push":
        call.find("changes-elsewhere", command)
    elif command in ("strip", "purge", "rollback", "delete", "del", "rm", "obliterate"):
        call.find("deletes", command)
    elif command in ("clone", "pull", "update", "up", "checkout", "co", "incoming", "outgoing", "switch", "export"):
        call.find("leaves")
    elif command not in (
        "status",
        "st",
        "diff",
        "log",
        "info",
        "annotate",
        "blame",
        "cat",
        "ls",
        "list",
        "help",
        "summary",
        "id",
        "",
    ):
        call.find("writes")
    return DATA


_DOCKER_TAKES = (
    "-v -p -e -w -u -h -l -m -c --volume --mount --name --env --env-file --network --net --publish --user --workdir --entrypoint"
    " --hostname --label --memory --cpus --platform --pid --ipc --uts --userns --device --cap-add --cap-drop --security-opt --restart"
    " --add-host --dns --link --log-driver --gpus --shm-size --tmpfs --ulimit --volumes-from --cgroupns --runtime --pull --expose"
    " --health-cmd --ip --mac-address --group-add"
)
_DOCKER_READS = frozenset(
    "ps images info version inspect logs top stats port history search events diff ls list config context help df"
    " container image network volume system buildx compose manifest".split()
)


def _docker(call: Call) -> str:
    options = options_of(
        call.args,
        "-H -c --host --context --config -l --log-level -f --file -p --project-name --profile --env-file",
        first=True,
    )
    if any("tcp://" in value or "ssh://" in value for value in options.each("-H --host")):
        call.find("other-machine", "docker -H")
    words = options.operands
    while (
        len(words) > 1
        and words[0] in ("container", "image", "compose", "buildx", "builder", "pod")
        or call.name == "docker-compose"
    ):
        words = words if call.name == "docker-compose" else words[1:]
        if call.name == "docker-compose" or words[:1]:
            break
    command, rest = (words[0], words[1:]) if words else ("", [])
    joined = " ".join(call.args)
    if command in ("run", "create", "exec"):
        _docker_run(call, command, rest)
    elif "prune" in call.args:
        call.find("outside-delete", "prune")
    elif (
        command in ("rm", "rmi", "down", "kill")
        or command in ("volume", "network", "secret", "config", "swarm", "stack", "service", "node")
        and rest[:1] in (["rm"], ["remove"], ["leave"], ["update"], ["init"], ["join"], ["create"], ["deploy"])
    ):
        mass = "$(" in joined or UNKNOWN in joined or DATA in joined or re.search(r"\s(?:-v|--volumes|--rmi)\b", joined)
        call.find("outside-delete" if mass else "ends-own", command)
    elif command in ("push", "login"):
        call.find("changes-outside" if command == "push" else "leaves", command)
    elif command in (
        "pull",
        "build",
        "up",
        "start",
        "restart",
        "stop",
        "pause",
        "unpause",
        "load",
        "import",
        "tag",
        "commit",
        "save",
        "export",
        "wait",
        "attach",
    ):
        call.find(
            "workspace-code" if command in ("build", "up") else "leaves" if command == "pull" else "writes", command
        )
    elif command == "cp":
        _copied(call, rest)
    elif command and command not in _DOCKER_READS:
        call.find("unknown-program", command)
    return DATA


def _copied(call: Call, rest: list[str]) -> None:
    operands = [arg for arg in rest if not arg.startswith("-")]
    for one in operands[:-1]:
        if ":" not in one:
            call.reads(one)
    if operands and ":" not in operands[-1]:
        call.writes(operands[-1])
    call.find("writes")


def _docker_run(call: Call, command: str, rest: list[str]) -> None:
    options = options_of(rest, _DOCKER_TAKES, first=True)
    if any(name in ("--privileged",) for name, _ in options.given):
        call.find("container", "--privileged")
    for value in options.each("--pid --ipc --uts --userns --net --network --cgroupns"):
        if value == "host" or value.startswith("container:"):
            call.find("container", f"namespace {value}")
    if "--cap-add --device --security-opt" in options:
        call.find("container", "more rights")
    for value in [*options.each("-v --volume"), *(_source(one) for one in options.each("--mount"))]:
        source = value.split(":")[0]
        place = place_of(call.path(source)) if source[:1] in "/~." or source[:1] == UNKNOWN else Place.NOTHING
        if (
            place in (Place.ROOT, Place.HOME, Place.SYSTEM, Place.DEVICE)
            or "docker.sock" in source
            or source.startswith(("/etc", "/var/run"))
        ):
            call.find("container", f"mounts {source}")
        call.reads(source) if place is Place.OUTSIDE else None
    words = options.operands[1:]
    image = "".join(options.operands[:1])
    entry = options.value("--entrypoint")
    call.find("writes" if command == "exec" else "workspace-code", image)
    if entry:
        words = [entry, *words]
    if words:
        inside = len(call.found)
        if words[0].rpartition("/")[2] in ("sh", "bash", "ash", "zsh") and "-c" not in words:
            return
        call.run(words)
        del inside


def _source(mount: str) -> str:
    found = re.search(r"(?:source|src)=([^,]+)", mount)
    return found[1] if found else ""


def _pip(call: Call) -> str:
    args = call.args
    options = options_of(
        args,
        "-r -c -e -i -t -f -d --requirement --constraint --editable --index-url --extra-index-url --target"
        " --prefix --root --find-links --trusted-host --proxy --python --format -o",
    )
    words = options.operands
    if words[:1] == ["pip"] and call.name == "uv":
        words = words[1:]
    command = words[0] if words else ""
    names = words[1:]
    if command in ("install", "download", "wheel", "sync", "tool", "add", "run", "x") or call.name in ("pipx", "uvx"):
        if command == "run" and call.name in ("uv", "poetry", "pipenv", "pdm", "hatch", "rye", "pipx"):
            call.run(names) if names and call.name != "pipx" else call.find("installs")
            return UNKNOWN
        outside = "-i --index-url --extra-index-url --trusted-host -f --find-links --proxy" in options
        named = [name for name in names if not re.match(r"(?:\.{1,2}(?:/.*)?(?:\[.*\])?|\S+\.whl|\./\S*|/\S*)$", name)]
        if outside or named and command != "download":
            call.find("installs", " ".join(named[:2]))
        elif command in ("tool", "x") or call.name in ("pipx", "uvx"):
            call.find("installs" if named or call.name == "uvx" else "reads")
        else:
            call.find("installs-listed")
            call.find("workspace-code")
        for file in options.each("-r --requirement"):
            if "://" in file:
                call.find("installs", file)
    elif command in ("uninstall", "remove"):
        call.find("deletes", "packages")
    elif command in ("publish",):
        call.find("changes-outside", "publishes")
    elif command in (
        "config",
        "cache",
        "lock",
        "init",
        "new",
        "venv",
        "update",
        "upgrade",
        "export",
        "build",
        "compile",
    ):
        call.find("environment" if command == "config" and "set" in names else "writes")
    return DATA


def _python_project(call: Call) -> str:
    """poetry, pdm, pipenv, hatch."""
    words = [arg for arg in call.args if not arg.startswith("-")]
    command, names = (words[0], words[1:]) if words else ("", [])
    if command == "run":
        rest = call.args[call.args.index("run") + 1 :]
        return call.run(rest) if rest else UNKNOWN
    if command in ("add",) or command == "install" and names and call.name in ("pipenv",):
        call.find("installs", " ".join(names[:2]))
    elif command in ("install", "sync", "update", "lock"):
        call.find("installs-listed")
    elif command in ("publish",):
        call.find("changes-outside", "publishes")
    elif command in ("show", "check", "list", "search", "env", "version", "about", "config", "help", "graph"):
        call.find("leaves" if command == "search" else "writes")
    elif command:
        call.find("writes")
    return DATA


def _npm(call: Call) -> str:
    args = call.args
    options = options_of(args, "--registry --prefix -C -w --workspace --filter --loglevel --tag")
    words = options.operands
    command, names = (words[0], words[1:]) if words else ("install" if call.name == "yarn" else "", [])
    if command == "global":
        command, names = (names[0], names[1:]) if names else ("", [])
    if command in ("install", "i", "add", "a", "ci", "update", "up", "upgrade", "in", "link"):
        named = [name for name in names if not re.match(r"\.{1,2}(?:/|$)", name)]
        if named and command not in ("update", "up", "upgrade", "link") or "--registry" in options:
            call.find("installs", " ".join(named[:2]))
        else:
            call.find("installs-listed")
    elif command in ("exec", "dlx", "x", "create"):
        call.find("installs", " ".join(names[:2]))
        for text in options_of(args, "-c --call").each("-c --call"):
            call.shell(text)
    elif command in (
        "run",
        "run-script",
        "test",
        "t",
        "start",
        "build",
        "dev",
        "stop",
        "lint",
        "rb",
        "rebuild",
        "serve",
        "preview",
        "restart",
        "tst",
    ):
        call.find("workspace-code", command)
        call.found[:] = call.found
    elif command in (
        "publish",
        "unpublish",
        "deprecate",
        "owner",
        "access",
        "token",
        "adduser",
        "login",
        "dist-tag",
        "star",
        "unstar",
        "hook",
        "org",
        "team",
        "profile",
    ):
        call.find(
            "changes-outside" if command not in ("login", "adduser", "star", "unstar", "org") else "leaves", command
        )
    elif command in (
        "uninstall",
        "remove",
        "rm",
        "un",
        "prune",
        "dedupe",
        "cache",
        "init",
        "pack",
        "version",
        "set",
        "unlink",
    ):
        call.find("writes", command)
    elif command == "config":
        call.find(
            "environment"
            if names[:1] == ["set"] and re.search(r"registry|script-shell|prefix|proxy", " ".join(names))
            else "writes"
        )
    elif command in (
        "view",
        "info",
        "search",
        "outdated",
        "audit",
        "ping",
        "whoami",
        "repo",
        "docs",
        "bugs",
        "doctor",
        "fund",
    ):
        call.find("leaves", command)
    elif command not in ("ls", "list", "help", "root", "bin", "prefix", "why", "explain", "", "get", "workspaces"):
        call.find("workspace-code" if call.name in ("yarn", "pnpm", "bun") else "unknown-program", command)
    return DATA


_LOCAL_TOOLS = frozenset(
    "tsc eslint prettier jest vitest mocha vite webpack rollup next nuxt playwright cypress prisma tsx ts-node turbo nx lerna babel"
    " stylelint tailwindcss postcss esbuild husky lint-staged commitlint rimraf concurrently nodemon serve http-server changeset expo"
    " biome svelte-check vue-tsc astro sass c8 nyc ava wrangler drizzle-kit knip depcheck storybook ng typedoc".split()
)


def _npx(call: Call) -> str:
    options = options_of(call.args, "-p -c --package --call", first=True)
    for text in options.each("-c --call"):
        call.shell(text)
    words = options.operands
    if words and words[0] in _LOCAL_TOOLS and "-p --package" not in options:
        call.find("workspace-code", words[0])
    elif "--no-install --no" in options:
        call.find("workspace-code")
    elif words or "-p --package" in options:
        call.find("installs", " ".join(words[:1]))
    return UNKNOWN


def _cargo(call: Call) -> str:
    """cargo, go, dotnet, bundle, composer, gem-like builders."""
    words = [arg for arg in call.args if not arg.startswith(("-", "+"))]
    command, names = (words[0], words[1:]) if words else ("", [])
    text = " ".join(call.args)
    if re.search(r"--config[ =]\S*(?:runner|rustc|linker|wrapper)|-(?:toolexec|exec)[ =]", text):
        call.find("option-runs", call.name)
    if command in ("install", "get", "add", "require", "global") and names:
        here = all(re.match(r"\.{1,2}(?:/|$)", name) for name in names) or "--path" in call.args
        call.find("installs-listed" if here else "installs", " ".join(names[:2]))
    elif command in ("publish", "push", "nuget", "owner", "yank", "login", "upload"):
        call.find("changes-outside" if command != "login" else "leaves", command)
    elif command in ("install", "fetch", "restore", "update", "mod", "vendor", "download", "generate-lockfile"):
        call.find("installs-listed", command)
    elif command in ("exec", "run") and call.name in ("bundle", "composer"):
        return call.run(names) if call.name == "bundle" and names else UNKNOWN
    elif command in (
        "tree",
        "metadata",
        "search",
        "info",
        "version",
        "help",
        "env",
        "list",
        "doc",
        "show",
        "locate-project",
        "pkgid",
        "outdated",
        "why",
        "",
    ):
        call.find("leaves" if command in ("search", "info") else "prints" if False else "writes") if command in (
            "search",
            "info",
        ) else None
    elif command == "run" and names and call.name == "go" and "@" in names[0]:
        call.find("installs", names[0])
    elif command in ("remove", "clean", "uninstall", "rm"):
        call.find("writes", command)
    else:
        call.find("workspace-code", command)
    return DATA


def _make(call: Call) -> str:
    takes = "-C -f -j -I -o -W -l --file --directory --makefile --eval --jobs --include-dir"
    options = options_of(call.args, takes)
    for text in options.each("--eval"):
        call.find("option-runs", "make --eval")
        for found in re.findall(r"\$\(shell ([^)]*)\)|(?:^|\n)\s*\w+:[^;\n]*;\s*(.*)|\n\t(.*)", text):
            call.shell("".join(found).lstrip("@-"))
    for file in options.each("-f --file --makefile"):
        if file in ("-", "/dev/stdin"):
            _recipes(call, call.stdin)
        elif (held := call.scope.files.get(call.path(file))) is not None:
            _recipes(call, held)
        elif place_of(call.path(file)) is not Place.WORKSPACE:
            call.find("unread-file", file)
    if (held := call.scope.files.get("Makefile")) is not None:
        _recipes(call, held)
    for setting in options.operands:
        name, equals, value = setting.partition("=")
        if (
            equals
            and name in ("SHELL", "CC", "CXX", "LD", "MAKE")
            and not re.match(r"[\w+./-]*(?:bash|sh|gcc|g\+\+|clang|cc|c\+\+)[\w.+-]*$", value)
        ):
            call.find("option-runs", f"make {name}=")
            call.shell(value)
        elif equals and ("$(shell" in value or "`" in value):
            call.find("option-runs", f"make {name}=")
    if "-n --dry-run --just-print" in options:
        return DATA
    call.find("workspace-code")
    return DATA


def _recipes(call: Call, text: str | None) -> None:
    if text is None or not known(text):
        call.find("unknown-code", "makefile")
        return
    for line in re.findall(r"^\t[@-]*(.*)|^[^\n:=#]+:[^\n;=]*;\s*(.*)", text, re.MULTILINE):
        call.shell("".join(line).replace("$$", "$"))
    for line in re.findall(r"\$\(shell ([^)]*)\)", text):
        call.shell(line)


def _compiles(call: Call) -> str:
    for place, arg in enumerate(call.args):
        if arg in ("-wrapper", "-fplugin", "-specs") or arg.startswith(("-fplugin=", "-specs=", "-B/tmp")):
            call.find("option-runs", call.name)
            if arg == "-wrapper":
                call.shell("".join(call.args[place + 1 : place + 2]).replace(",", " "))
    options = options_of(call.args, "-o -I -L -l -D -x -std -include -isystem")
    call.writes(options.value("-o") or "a.out")
    return DATA


PROJECTS: dict[str, Handler] = {
    "git": _git, "hg": _hg, "svn": _hg, "docker": _docker, "podman": _docker, "nerdctl": _docker, "docker-compose": _docker,
    "finch": _docker, "pip": _pip, "pip3": _pip, "uv": _pip, "pipx": _pip, "uvx": _pip, "poetry": _python_project,
    "pdm": _python_project, "pipenv": _python_project, "hatch": _python_project, "rye": _python_project, "npm": _npm,
    "pnpm": _npm, "yarn": _npm, "bun": _npm, "cnpm": _npm, "npx": _npx, "bunx": _npx, "pnpx": _npx, "cargo": _cargo, "go": _cargo,
    "dotnet": _cargo, "bundle": _cargo, "bundler": _cargo, "composer": _cargo, "make": _make, "gmake": _make,
    "gcc": _compiles, "g++": _compiles, "clang": _compiles, "clang++": _compiles, "cc": _compiles, "c++": _compiles,
}  # fmt: skip
