"""Package managers and build tools of the programming languages."""

from __future__ import annotations

import re

from ..calls import Call, Handlers, Options, handlers, options_of, with_options
from ..places import Place, place_of
from ..values import DATA, UNKNOWN, known, names
from .servers import APPLICATIONS, SERVERS, serves
from .tables import LOADS, coded

__all__ = ["PACKAGES"]


_PIP_WRITES = names("config cache lock init new venv update upgrade export build compile")


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
    given = words[1:]
    if command in ("install", "download", "wheel", "sync", "tool", "add", "run", "x") or call.name in ("pipx", "uvx"):
        if command == "run" and call.name == "uv":
            return _uv_run(call)
        if command == "run" and call.name == "pipx":
            call.find("installs")
            return UNKNOWN
        outside = "-i --index-url --extra-index-url --trusted-host -f --find-links --proxy" in options
        named = [name for name in given if not re.match(r"(?:\.{1,2}(?:/.*)?(?:\[.*\])?|\S+\.whl|\./\S*|/\S*)$", name)]
        if outside or (named and command != "download"):
            call.find("installs", " ".join(named[:2]))
        elif command in ("tool", "x") or call.name in ("pipx", "uvx"):
            call.find("installs" if named or call.name == "uvx" else "reads")
        else:
            call.find("installs-listed")
            call.find("workspace-code")
        for file in options.each("-r --requirement"):
            if "://" in file:
                call.find("installs", file)
        call.obeys(*args)
        call.scope.brought |= command in ("download", "wheel")
    elif call.name == "uv" and command in ("self", "python") and given[:1] in (["update"], ["install"], ["upgrade"]):
        call.find("installs", f"uv {command}")
    elif command in ("uninstall", "remove"):
        call.find("deletes", "packages")
    elif command in ("publish",):
        call.find("changes-outside", "publishes")
    elif command in _PIP_WRITES:
        call.find("environment" if command == "config" and "set" in given else "writes")
    return DATA


_UV_INSTALLS = names(
    "--with --with-editable -w --index --index-url -i --default-index --extra-index-url -f --find-links"
)


def _uv_run(call: Call) -> str:
    """Run a command, a script or a module (-m), after installing the packages it names."""
    options = options_of(
        call.args[call.args.index("run") + 1 :],
        "--with --with-editable --with-requirements --index --index-url -i --default-index --extra-index-url -f -w -e"
        " --find-links --extra --group --only-group --no-group --env-file --package --python --project --directory -p"
        " -C -P --config-file --no-extra --link-mode --color --cache-dir --upgrade-package --reinstall-package"
        " --python-platform",
        first=True,
    )
    installed = [value for name, value in options.given if name in _UV_INSTALLS]
    if any(not re.match(r"\.{0,2}/|\.{1,2}$", one) for one in installed):
        call.find("installs", " ".join(installed[:2]))
    if any("://" in file for file in options.each("--with-requirements")):
        call.find("installs", "from outside")
    words = options.operands
    if not words or "-m --module" in options:
        return call.run(["python", *(["-m"] if words else []), *words])
    if re.match(r"\w+://", words[0]):
        call.find("remote-code", words[0])
        return UNKNOWN
    if words[0] == "-" or words[0].endswith(".py") or "-s --script" in options:
        return call.run(["python", *words])
    return call.run(words)


def _python_project(call: Call) -> str:
    """poetry, pdm, pipenv, hatch."""
    words = [arg for arg in call.args if not arg.startswith("-")]
    command, names = (words[0], words[1:]) if words else ("", [])
    if command == "run" or (call.name == "hatch" and "run" in words):
        rest = call.args[call.args.index("run") + 1 :]
        return call.run(rest) if rest else UNKNOWN
    if command in ("add",) or (command == "install" and names and call.name in ("pipenv",)):
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


_NPM = coded("""
installs-listed   ci
workspace-code    run run-script test t tst start stop restart build dev lint rb rebuild serve preview
changes-outside   publish unpublish deprecate owner access token dist-tag hook team profile
leaves            login adduser star unstar org view info search outdated audit ping whoami repo docs bugs doctor fund
writes            uninstall remove rm un prune dedupe cache init pack version set unlink pkg config
prints            ls list help root bin prefix why explain get workspaces
""")
"""Command -> its rule."""
_NPM_INSTALLS = names("install i add a in link update up upgrade")


def _npm(call: Call) -> str:
    args = call.args
    if call.name == "bun" and args[:1] and args[0] in ("-e", "--eval", "-p", "--print"):
        return call.run(["node", *args])
    options = options_of(args, "--registry --prefix -C -w --workspace --filter --loglevel --tag --script-shell")
    call.starts(*options.each("--script-shell"))
    words = options.operands
    if words[:1] == ["global"]:
        words = words[1:]
    call.obeys(*words)
    command, given = (words[0], words[1:]) if words else ("install" if call.name == "yarn" else "", [])
    code = _NPM.get(command, "")
    if command in _NPM_INSTALLS:
        named = [name for name in given if not re.match(r"\.{1,2}(?:/|$)", name)]
        fresh = named and command not in ("update", "up", "upgrade", "link")
        code = "installs" if fresh or "--registry" in options else "installs-listed"
    elif command in ("exec", "dlx", "x", "create") or (command == "init" and given):
        code = "installs"
        for text in options_of(args, "-c --call").each("-c --call"):
            call.shell(text)
    elif command in ("config", "pkg") and given[:1] != ["set"]:
        code = "prints"
    elif command == "config" and re.search(r"registry|script-shell|prefix|proxy", " ".join(given)):
        code = "environment"
    elif command and not code:
        code = "workspace-code" if call.name in ("yarn", "pnpm", "bun") else "unknown-program"
    if code == "workspace-code" and any(re.match(r"https?://", one) for one in given[:1]):
        code = "remote-code"
    if code and code != "prints":
        call.find(code, " ".join([command, *given[:1]]))
    call.scope.brought |= command == "pack" and bool(given)
    return DATA


_LOCAL_TOOLS = names(
    "tsc eslint prettier jest vitest mocha vite webpack rollup next nuxt playwright cypress prisma tsx ts-node "
    "turbo nx lerna babel stylelint tailwindcss postcss esbuild husky lint-staged commitlint rimraf concurrently "
    "nodemon changeset expo biome svelte-check vue-tsc astro sass c8 nyc ava wrangler "
    "drizzle-kit knip depcheck storybook ng typedoc"
)


def _npx(call: Call, options: Options) -> str:
    for text in options.each("-c --call"):
        call.shell(text)
    words = options.operands
    if words and words[0] in SERVERS and "-p --package" not in options:
        return call.run(words)
    if words and words[0] in APPLICATIONS:
        serves(call, words[1:], everybody=False)
    if words and words[0] in _LOCAL_TOOLS and "-p --package" not in options:
        call.find("workspace-code", words[0])
    elif "--no-install --no" in options:
        call.find("workspace-code")
    elif words or "-p --package" in options:
        call.find("installs", " ".join(words[:1]))
    return UNKNOWN


_BUILDS = coded("""
changes-outside   publish push nuget owner yank upload
leaves            login search info
installs-listed   install fetch restore update mod vendor download generate-lockfile
writes            remove clean uninstall rm
prints            tree metadata version help env list doc show locate-project pkgid outdated why
""")
"""The same for build tools; any other command runs code of the workspace."""


def _cargo(call: Call) -> str:
    """cargo, go, dotnet, bundle, composer, gem-like builders."""
    words = [arg for arg in call.args if not arg.startswith(("-", "+"))]
    command, names = (words[0], words[1:]) if words else ("", [])
    text = " ".join(call.args)
    call.obeys(*names)
    if re.search(r"--config[ =]\S*(?:runner|rustc|linker|wrapper)|-(?:toolexec|exec|vettool)[ =]", text):
        call.find("option-runs", call.name)
    if command in ("install", "get", "add", "require", "global") and names:
        here = all(re.match(r"\.{1,2}(?:/|$)", name) for name in names) or "--path" in call.args
        call.find("installs-listed" if here else "installs", " ".join(names[:2]))
    elif command in ("exec", "run") and call.name in ("bundle", "composer"):
        return call.run(names) if call.name == "bundle" and names else UNKNOWN
    elif command == "new" and names[:1] == ["install"]:
        call.find("installs", " ".join(names[1:2]))
    elif command == "run" and names and call.name == "go" and "@" in names[0]:
        call.find("installs", names[0])
    elif command and (code := _BUILDS.get(command, "workspace-code")) != "prints":
        call.find(code, command)
    return DATA


_USUAL_TOOL = re.compile(r"[\w+./-]*(?:bash|sh|gcc|g\+\+|clang|cc|c\+\+)[\w.+-]*$")


def _make(call: Call) -> None:
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
        if equals and name in ("SHELL", "CC", "CXX", "LD", "MAKE") and not _USUAL_TOOL.match(value):
            call.runs_by(f"make {name}=", value)
        elif equals and LOADS.get(name) == "builds" and known(value):
            call.shell(value)
        elif equals and ("$(shell" in value or "`" in value):
            call.find("option-runs", f"make {name}=")
    if "-n --dry-run --just-print" in options:
        return
    call.find("workspace-code")


def _recipes(call: Call, text: str | None) -> None:
    if text is None or not known(text):
        call.find("unknown-code", "makefile")
        return
    for line in re.findall(r"^\t[@-]*(.*)|^[^\n:=#]+:[^\n;=]*;\s*(.*)", text, re.MULTILINE):
        call.shell("".join(line).replace("$$", "$"))
    for line in re.findall(r"\$\(shell ([^)]*)\)", text):
        call.shell(line)


def _compiles(call: Call) -> None:
    for place, arg in enumerate(call.args):
        if arg in ("-wrapper", "-fplugin", "-specs") or arg.startswith(("-fplugin=", "-specs=", "-B/tmp")):
            call.find("option-runs", call.name)
            if arg == "-wrapper":
                call.shell("".join(call.args[place + 1 : place + 2]).replace(",", " "))
    options = options_of(call.args, "-o -I -L -l -D -x -std -include -isystem")
    call.writes(options.value("-o") or "a.out")
    call.scope.brought |= any(map(call.scope.fetched, options.operands))


PACKAGES: Handlers = handlers(
    {
        "pip pip3 uv pipx uvx": _pip,
        "poetry pdm pipenv hatch rye": _python_project,
        "npm pnpm yarn bun cnpm": _npm,
        "npx bunx pnpx": with_options(_npx, "-p -c --package --call", first=True),
        "cargo go dotnet bundle bundler composer": _cargo,
        "make gmake": _make,
        "gcc g++ clang clang++ cc c++": _compiles,
    }
)
