"""Programs that run what they are given: shells, wrappers, and any that take a command among their arguments."""

from __future__ import annotations

import re

from ..calls import Call, Handlers, Options, finds, options_of, with_options
from ..environment import assign, set_by, set_in
from ..evaluation import expanded_again, subscripts
from ..places import Place, place_of
from ..values import DATA, HOLES, REMOTE, UNKNOWN, known, merged, names
from .tables import SHELLS, USUAL_FOLDERS
from .wrappers import WRAPPERS

__all__ = ["RUNNING", "run_file", "run_text", "sets_up"]


def run_file(call: Call, given: str, parameters: list[str]) -> str:
    """Judge running a file, whose text an earlier command may have written.

    Args:
        call: The command that runs it.
        given: The file, as written in the command.
        parameters: Its arguments.
    """
    path = call.path(given)
    text = call.scope.files.get(path)
    if text is not None:
        return run_text(call, text, parameters)
    place = place_of(path)
    if call.scope.fetched(given):
        call.find("remote-code", given)
    elif place is Place.WORKSPACE and (
        given.startswith("./") or "/" not in path or path.split("/")[0] in USUAL_FOLDERS
    ):
        call.find("workspace-code", given)
    elif place is Place.UNKNOWN:
        call.find("remote-code" if REMOTE in given else "unread-file", given)
    else:
        call.find("unread-file", given)
    return DATA


def run_text(call: Call, text: str, parameters: list[str]) -> str:
    """Judge a text that a command passes to a shell, or to the interpreter its first line names.

    Args:
        call: The command that runs it.
        text: The text; unknown parts are holes.
        parameters: Its arguments.
    """
    if REMOTE in text:
        call.find("remote-code")
        return REMOTE
    if text.strip() and text.strip() in call.scope.decoded:
        call.find("hidden-code")
    if not text.strip(HOLES + " \n"):
        if text.strip():
            call.find("unknown-code")
        return UNKNOWN
    shebang = re.match(r"#!\s*(?:/usr/bin/env\s+(?:-S\s+)?)?(\S+)([^\n]*)", text)
    program = shebang[1].rpartition("/")[2] if shebang else "sh"
    if program in SHELLS:
        return call.shell(text, parameters)
    return call.run([program, "-c" if program.startswith("python") else "-e", text])


def _shell(call: Call) -> str:
    options = options_of(call.args, "-o -O --rcfile --init-file", first=True)
    operands = options.operands
    for file in options.each("--rcfile --init-file"):
        run_file(call, file, [])
    if "-n" in options and "-c" not in options:
        call.reads(*operands)
        return UNKNOWN
    if "-c --command" in options:
        return run_text(call, operands[0], operands[2:]) if operands else UNKNOWN
    if operands and "-s" not in options and operands[0] != "-":
        if operands[0] in ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
            return _from_stdin(call, operands[1:])
        return run_file(call, operands[0], operands[1:])
    return _from_stdin(call, operands)


def _from_stdin(call: Call, parameters: list[str]) -> str:
    if call.stdin is None:
        call.find("interactive")
        return UNKNOWN
    return run_text(call, call.stdin, parameters)


def _eval(call: Call) -> str:
    text = " ".join(call.args)
    if REMOTE in text:
        call.find("remote-code")
    elif text.strip(HOLES) == "" and text:
        call.find("unknown-code")
    elif text:
        if text.strip() in call.scope.decoded:
            call.find("hidden-code")
        return call.shell(text, call.scope.parameters)
    return UNKNOWN


def _source(call: Call) -> str:
    if not call.args:
        return UNKNOWN
    given = call.args[0]
    if given in ("/dev/stdin", "/proc/self/fd/0", "/dev/fd/0"):
        return _from_stdin(call, call.args[1:])
    path = call.path(given)
    if path not in call.scope.files and re.match(r"~/\.\w|/etc/(?:profile|bash\S*)(?:/|$)|/usr/share/|/opt/", path):
        call.find("workspace-code", given)
        return UNKNOWN
    if path not in call.scope.files and re.search(r"(?:^|/)bin/activate$|(?:^|/)\.?env(?:\.sh)?$", path):
        call.find("workspace-code", given)
        return UNKNOWN
    return run_file(call, given, call.args[1:])


def _env(call: Call, options: Options) -> str:
    for text in options.each("-S --split-string"):
        return call.shell(" ".join([text, *options.operands]))
    words = list(options.operands)
    while words and re.match(r"[^=/\s-][^=\s]*=", words[0]):
        _set(call, words.pop(0))
    if not words:
        return DATA
    return call.run(words)


def _set(call: Call, assigned: str) -> None:
    name, _, value = assigned.partition("=")
    for code in set_by(name, value, call.judge):
        call.find(code, name)


_REFERRING = ("declare", "typeset", "local")


def _export(call: Call) -> str:
    refers = call.name in _REFERRING and any(re.match(r"-\w*n", word) for word in call.args)
    for word in call.args:
        name, equals, value = word.partition("=")
        subscripts(call.judge, word)
        if value.startswith("("):
            expanded_again(call.judge, value)
        if refers and not word.startswith("-"):
            call.scope.references[name] = value
        elif equals and not word.startswith("-"):
            _set(call, word)
            call.scope.assign(name, value)
        elif REMOTE in word:
            call.find("environment", "variables from outside")
        elif call.name == "unset" and word.startswith("HIST"):
            call.find("hides", word)
    if call.name == "unset":
        for word in call.args:
            call.scope.variables.pop(word, None)
    return ""


def _read(call: Call, options: Options) -> str:
    for name in [*options.operands, *options.each("-a")]:
        assign(call, name, _line(call.stdin))
    return ""


def _getopts(call: Call) -> str:
    for name in call.args[1:2]:
        assign(call, name, UNKNOWN)
    return ""


def _wait(call: Call) -> str:
    for name in options_of(call.args, "-p").each("-p"):
        assign(call, name, UNKNOWN)
    return ""


def _let(call: Call) -> str:
    for arg in call.args:
        subscripts(call.judge, arg)
        for name in set_in(arg):
            assign(call, name, UNKNOWN)
    return ""


def _test(call: Call) -> str:
    for arg in call.args:
        subscripts(call.judge, arg)
    return ""


def _line(stdin: str | None) -> str:
    text = UNKNOWN if stdin is None else stdin
    return text.split("\n")[0] if known(text) else text.strip("\n") if text.count("\n") <= 1 else merged(text)


def _sudo(call: Call) -> str:
    takes = "-u -g -h -p -C -D -R -T -U -r -t --user --group --host --prompt --chdir --chroot --role --type -a"
    options = options_of(call.args, takes, first=True)
    if "-l --list -V --version -v --validate -k --reset-timestamp -K" in options:
        return UNKNOWN
    call.find("privilege")
    if "-e --edit" in options or call.name == "sudoedit":
        call.writes(*options.operands)
        return UNKNOWN
    words = list(options.operands)
    while words and re.match(r"\w+=", words[0]):
        _set(call, words.pop(0))
    if words:
        return call.run(words)
    return UNKNOWN


def _su(call: Call, options: Options) -> str:
    call.find("privilege")
    for text in options.each("-c --command --session-command"):
        call.shell(text)
    if call.stdin is not None and known(call.stdin) and not options.value("-c --command"):
        call.shell(call.stdin)
    return UNKNOWN


def _wrapper(call: Call) -> str:
    wrapper = WRAPPERS[call.name]
    options = options_of(call.args, wrapper.takes, first=True, single=wrapper.single)
    for text in options.each(wrapper.text):
        run_text(call, text, [])
    words = options.operands[wrapper.skips :]
    call.writes(*options.each(wrapper.files))
    if wrapper.code:
        call.find(wrapper.code)
    if call.name in ("strace", "ltrace") and "-p" in options:
        call.find("credentials", "another process")
    while words and wrapper.assigns and re.match(r"\w+=", words[0]):
        _set(call, words.pop(0))
    if not words:
        return UNKNOWN
    if wrapper.joins:
        return call.shell(" ".join(words))
    return call.run(words)


def _flock(call: Call, options: Options) -> str:
    words = options.operands[1:]
    if words[:1] in (["-c"], ["--command"]):
        return call.shell(" ".join(words[1:]))
    return call.run(words) if words else UNKNOWN


def _command(call: Call) -> str:
    """``command``, ``builtin``, ``exec``, ``!`` and other words before a command."""
    options = options_of(call.args, "-a" if call.name == "exec" else "", first=True)
    if call.name == "command" and "-v -V" in options:
        return "".join(f"/usr/bin/{word}\n" for word in options.operands)
    words = list(options.operands)
    if call.name == "coproc":
        # A name, and the brace that the grammar takes for a word.
        if len(words) > 1 and words[0].isupper():
            assign(call, words.pop(0), UNKNOWN)
        words = words[1:] if words[:1] == ["{"] else words
    return call.run(words) if words else UNKNOWN


def _trap(call: Call) -> str:
    if call.args and call.args[0] not in ("-", "-p", "-l", ""):
        signals = call.args[1:]
        if "DEBUG" in signals:
            call.find("records", "DEBUG")
        call.scope.later.append(call.args[0])
        if set(signals) - {"EXIT", "0"} or not signals:
            call.shell(call.args[0])
    return ""


def _alias(call: Call) -> str:
    for word in call.args:
        name, equals, text = word.partition("=")
        if equals:
            call.scope.aliases[name] = text
            before = dict(call.scope.aliases)
            call.scope.aliases.pop(name)
            call.shell(text)
            call.scope.aliases = before
    return ""


def _fork(call: Call) -> str:
    """busybox, toybox: the first operand is the program."""
    return call.run(call.args) if call.args and not call.args[0].startswith("-") else UNKNOWN


def _bind(call: Call) -> str:
    if "-x" in call.args:
        for text in call.args[call.args.index("-x") + 1 :]:
            call.shell(text.partition(":")[2].strip().strip("\"'"))
    return ""


_COMPLETE_TAKES = "-C -F -W -G -P -S -X -A -o"


def _compgen(call: Call) -> None:
    for text in options_of(call.args, _COMPLETE_TAKES).each("-C"):
        call.shell(text)
    for text in options_of(call.args, _COMPLETE_TAKES).each("-W"):
        if "$(" in text or "`" in text:
            call.shell(f'echo "{text}"')


def _mapfile(call: Call, options: Options) -> str:
    for text in options.each("-C"):
        call.shell(text)
    stdin = call.stdin
    for name in options.operands or ["MAPFILE"]:
        assign(call, name, stdin.splitlines() if stdin is not None and known(stdin) else [UNKNOWN])
    return ""


def _cd(call: Call) -> str:
    target = next((arg for arg in call.args if not arg.startswith("-") or arg == "-"), "~")
    scope = call.scope
    if call.name == "popd" or target == "-":
        scope.folder = ""
    elif not known(target):
        scope.folder = scope.path(target) if scope.path(target)[:1] not in HOLES else UNKNOWN
    else:
        folder = scope.path(target)
        scope.folder = "" if folder == "." else folder
    return ""


def _set_shell(call: Call) -> None:
    """``set`` and ``shopt``."""
    words = call.args
    if call.name == "set" and "history" in words and "+o" in words:
        call.find("hides", "+o history")
    if call.name == "set" and (words[:1] == ["--"] or (words and words[0][:1] not in "-+")):
        call.scope.parameters = [word for word in words if word != "--"]


_SETTING_UP = names(
    "init hook env activate shellenv docker-env shell.bash shell.zsh shell.fish -s -c -k -b --daemon --eval "
    "--alias path"
)


def sets_up(call: Call) -> str | None:
    """Judge a program that prints shell setup for ``eval``, or runs a command with it; None if it does neither."""
    words = call.args
    if call.name == "ssh-agent":
        words = options_of(words, "-a -t -E -P", first=True).operands
        return call.run(words) if words else ""
    if words[:1] in (["exec"], ["x"]):
        words = [word for word in words[2 if call.name in ("direnv", "asdf") else 1 :] if word != "--"]
        while words and (words[0].startswith("-") or "@" in words[0]):
            words = words[1:]
        return call.run(words) if words else UNKNOWN
    return "" if not words or words[0] in _SETTING_UP else None


RUNNING: Handlers = {
    **dict.fromkeys(SHELLS, _shell),
    **dict.fromkeys(WRAPPERS, _wrapper),
    "eval": _eval,
    "source .": _source,
    "env": with_options(_env, "-u --unset -C --chdir -S --split-string", first=True),
    "sudo doas sudoedit pkexec gosu su-exec run0 dzdo calife": _sudo,
    "su": with_options(_su, "-c --command -s --shell -g -G -w --session-command"),
    "flock": with_options(_flock, "-w -E --timeout --conflict-exit-code", first=True),
    "trap": _trap,
    "alias": _alias,
    "busybox toybox": _fork,
    "hash": finds("environment: hash -p", where=r"-p$", prints=""),
    "enable": finds("unread-file: enable -f", where=r"-f$", prints=""),
    "bind": _bind,
    "complete compgen": _compgen,
    "mapfile readarray": with_options(_mapfile, "-d -n -O -s -u -C -c"),
    "cd pushd popd": _cd,
    "set shopt": _set_shell,
    "read": with_options(_read, "-a -d -i -n -N -p -t -u"),
    "getopts": _getopts,
    "wait": _wait,
    "let": _let,
    "test [": _test,
    "export declare typeset local readonly unset setenv": _export,
    "command builtin exec coproc ! then do else -": _command,
}
