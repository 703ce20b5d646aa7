"""Programs that run a command for each of many items, repeatedly, or elsewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from itertools import pairwise

from ..calls import Call, Handlers, Options, options_of, with_options
from ..expansion import unquoted_ansi
from ..places import Place, holds_secrets, place_of
from ..values import DATA, REMOTE, UNKNOWN, known, merged, names
from .running import run_text
from .servers import reachable

__all__ = ["REPEATING"]

_ITEMS = 40  # items of an input list that are read for xargs and similar programs


def _items(stdin: str | None, options: Options, usual: Callable[[str], list[str]]) -> list[str]:
    """Return the items of an input list, with a hole for those that are not read.

    Args:
        stdin: The list; None if it is not known.
        options: The program's options, which may name what ends an item.
        usual: Splits the list if they do not.
    """
    if stdin is None:
        return [UNKNOWN]
    mark = options.value("-d --delimiter")
    if "-0 --null" in options:
        # What other programs print is taken for lines, whatever ends them.
        items = re.split(r"[\0\n]", stdin)
    elif mark is None:
        items = usual(stdin)
    else:
        items = stdin.split(unquoted_ansi(mark) or "\0") if known(mark) else [UNKNOWN]
    items = [item for item in items if item]
    return [*items[:_ITEMS], UNKNOWN] if len(items) > _ITEMS else items


def _quoted(text: str) -> list[str]:
    """Split as xargs does: at blanks outside quotes."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _xargs(call: Call) -> str:
    # A value of --replace, --max-lines and --eof follows "=" only.
    takes = (
        "-I -n -P -L -d -s -a -E --max-args --max-procs --max-chars --delimiter --arg-file --process-slot-var -J -R -S"
    )
    options = options_of(call.args, takes, first=True)
    stdin = call.stdin
    for file in options.each("-a --arg-file"):
        call.reads(file)
        stdin = call.scope.files.get(call.path(file), DATA)
    items = [DATA if item == UNKNOWN and call.stdin is None else item for item in _items(stdin, options, _quoted)]
    words = options.operands or ["echo"]
    mark = options.value("-I -J --replace") or ("{}" if "-i --replace" in options else "")
    if mark:
        for item in items[:_ITEMS]:
            call.judge.run([word.replace(mark, item) for word in words])
        return merged(*items)
    return call.judge.run([*words, *items])


# Without --transferfile, of which the flag --transfer would count as an abbreviation.
_PARALLEL_TAKES = (
    "-C -E -I -J -L -M -N -P -S -U -a -d -j -n -s --arg-file --arg-file-sep --arg-sep --basefile --bf --block "
    "--block-size --block-timeout --bner --bnr --bt --colsep --compress-program --decompress-program --delay "
    "--delimiter --dnr --env --er --halt --halt-on-error --header --joblog --jobs --limit --load --max-args "
    "--max-chars --max-procs --max-replace-args --memfree --memsuspend --minversion --nice --profile --recend "
    "--recstart --res --result --results --retries --return --rpl --rsync-opts --seqreplace --shard --slf "
    "--slotreplace --sql --sqlandworker --sqlmaster --sqlworker --ssh --sshdelay --sshlogin --sshloginfile "
    "--tagstring --tempdir --template --termseq --tf --timeout --tmpdir --tmpl --trc --trim --wd --workdir"
)
_ELSEWHERE = "-S --sshlogin --slf --sshloginfile --nonall --onall --return --trc --transferfile --tf --basefile --bf"


def _parallel(call: Call) -> str:
    options = options_of(call.args, _PARALLEL_TAKES, first=True)
    if _ELSEWHERE in options:
        call.find("other-machine")
    for file in options.each("--joblog --results --res --result"):
        call.writes(file)
    if "--rpl --sqlworker --sqlandworker" in options:
        call.find("unknown-command")
    for text in options.each("--limit --compress-program --decompress-program --ssh"):
        call.runs_by(call.name, text)
    words = options.operands
    sources = ":::", "::::", ":::+", "::::+"
    cut = next((place for place, word in enumerate(words) if word in sources), len(words))
    command, items = words[:cut], [word for word in words[cut:] if word not in sources]
    if words[cut : cut + 1] == ["::::"] or not items:
        items = _items(call.stdin, options, str.splitlines)
    for item in items[:_ITEMS]:
        if not command:
            call.shell(item)
        elif any("{" in word for word in command):
            marks = re.split(r"\{[./#]*\d*\}", " ".join(command))
            call.shell(item.join(marks))
        else:
            call.shell(" ".join([*command, item]))
    return merged(*items)


_FILTERS = re.compile(
    r"-(?:i?name|i?path|i?wholename|i?regex|[acm](?:min|time)|newer\w*|size|empty|user|group|uid|gid|perm|inum|links|lname|samefile"
    r"|nouser|nogroup|maxdepth|used|xtype)$"
)


_NAMING = frozenset(("-name", "-iname", "-path", "-ipath", "-regex", "-iregex", "-wholename"))


def _find(call: Call) -> str:
    args = call.args
    start = next(
        (n for n, arg in enumerate(args) if arg[:1] in ("-", "(", "!") and not re.match(r"-[HLPEXdsx]$", arg)),
        len(args),
    )
    roots = [arg for arg in args[:start] if not arg.startswith("-")] or ["."]
    some = any(
        _FILTERS.match(arg) and not (arg in _NAMING and value in ("*", ".*", "*.*", "?*"))
        for arg, value in pairwise([*args, ""])
    )
    here = [f"{root.rstrip('/')}/{DATA}" if root not in (".", "./") else f"./{DATA}" for root in roots]
    reach = here if some else roots
    away = any(place_of(call.path(root)) in (Place.HOME, Place.OUTSIDE, Place.ROOT, Place.SYSTEM) for root in roots)
    printed = "".join(f"{path}\n" for path in reach)
    place = start
    while place < len(args):
        arg = args[place]
        place += 1
        if arg == "-delete":
            call.deletes(*reach, whole=not some)
        elif arg in ("-fprint", "-fprintf", "-fls", "-fprint0"):
            call.writes(*args[place : place + 1])
        elif arg in ("-name", "-iname", "-path", "-regex") and any(
            holds_secrets(name) or (away and re.search(r"\.(?:pem|p12|pfx|key|kdbx|ovpn|ppk)$", name))
            for name in args[place : place + 1]
        ):
            call.find("credentials", args[place])
        elif arg in ("-exec", "-execdir", "-ok", "-okdir"):
            end = next((n for n in range(place, len(args)) if args[n] in (";", "+")), len(args))
            words = args[place:end]
            place = end + 1
            for path in reach[:8] if words else ():
                call.run([word.replace("{}", path) for word in words])
            printed = DATA
        elif arg in ("-printf", "-ls"):
            printed = DATA
        elif arg == "-perm" and re.match(
            r"[-/+]?(?:0*[2467]0*\d{3}$|[ugoa,+=rwx]*[+=]\w*s)", "".join(args[place : place + 1])
        ):
            call.find("finds-privilege", args[place])
    return printed


def _fd(call: Call) -> str:
    """fd runs what follows -x or -X for each file it finds."""
    for place, arg in enumerate(call.args):
        if arg in ("-x", "--exec", "-X", "--exec-batch"):
            words = call.args[place + 1 :]
            call.run([*words, "."])
            return DATA
    return f"./{DATA}\n"


def _locate(call: Call) -> str:
    for arg in call.args:
        if holds_secrets(arg):
            call.find("credentials", arg)
    return f"/{DATA}\n"


def _ssh(call: Call) -> str:
    takes = "-b -c -D -E -e -F -I -i -J -L -l -m -O -o -p -Q -R -S -W -w -B"
    options = options_of(call.args, takes, first=True)
    for setting in options.each("-o"):
        name, _, value = setting.replace(" ", "=", 1).partition("=")
        if name.lower() in ("proxycommand", "localcommand", "knownhostscommand", "pkcs11provider"):
            call.runs_by(name, value.strip())
        elif name.lower() == "stricthostkeychecking" and value.lower() == "no":
            call.find("leaves")
    bound = [value.rsplit(":", 3)[0] for value in options.each("-L") if value.count(":") >= 3]
    if "-R -w -D -g" in options or any(map(reachable, bound)):
        call.find("opens")
    words = options.operands[1:]
    if not options.operands:
        return UNKNOWN
    before = len(call.found)
    call.find("leaves")
    remote = [word for word in words if word]
    if "-N" in options and not remote:
        call.find("opens" if "-L" in options else "leaves")
        return UNKNOWN
    if remote and _READ_THERE.match(" ".join(remote)):
        call.shell(" ".join(remote))
        return REMOTE
    if not remote and "-T" in options and options.operands[0].startswith("git@"):
        return UNKNOWN
    call.found[before:] = [("other-machine", options.operands[0])]
    if remote:
        call.shell(" ".join(remote))
    elif call.stdin is not None and known(call.stdin):
        call.shell(call.stdin)
    return REMOTE


_READ_THERE = re.compile(
    r"(?:ls|cat|df|du|uptime|hostname|whoami|id|uname|free|ps|date|w|who|head|tail|grep|find|stat|wc)\b[^;&|`$<>]*$"
)


def _watch(call: Call, options: Options) -> str:
    return call.shell(" ".join(options.operands)) if options.operands else UNKNOWN


def _entr(call: Call) -> str:
    """Run a command when files change: entr, watchexec, nodemon, chokidar, inotify wrappers."""
    options = options_of(
        call.args, "-w -e -f -i -s -d --exec --watch --ext --signal --stop-signal --filter", first=True
    )
    if call.name == "entr":
        options = options_of(call.args, "", first=True)
        if "-s" in options and options.operands:
            return call.shell(options.operands[0])
    for text in [*options.each("--exec"), *(options_of(call.args, "-x").each("-x") if call.name == "nodemon" else ())]:
        call.shell(text)
    words = options.operands
    if not words:
        return UNKNOWN
    if call.name == "nodemon":
        call.find("workspace-code")
        return UNKNOWN
    return call.run(words) if len(words) > 1 else call.shell(words[0])


def _script(call: Call, options: Options) -> str:
    if "-h -V" in options:
        return DATA
    commands = list(options.each("-c --command"))
    call.writes(*options.operands[:1])
    for text in commands:
        run_text(call, text, [])
    if not commands:
        if call.stdin is not None and known(call.stdin):
            call.shell(call.stdin)
        else:
            call.find("interactive")
            call.find("records")
    return UNKNOWN


_MULTIPLEXERS = names("screen tmux dtach abduco")
_OWN_WORDS = names("Enter C-m stuff -X ; send-keys new-session")
_SHOWS = re.compile(
    r"-ls|-list|ls|list-.*|info|show.*|display.*|has.*|kill-.*|-v|-V|attach.*|a|detach.*|select-.*|rename-.*|source.*"
)


def _multiplexer(call: Call) -> str:
    """screen, tmux and similar: what follows their options and names is a command."""
    args = call.args
    if not args or _SHOWS.fullmatch(args[0]):
        return UNKNOWN
    call.find("writes")
    takes = (
        "-s -n -c -x -y -e -t -F -l -S -h -T -p -L -f -A -r"
        if call.name == "tmux"
        else "-S -c -h -T -t -p -e -L -N -n -A -z"
    )
    options = options_of(args[1:] if call.name == "tmux" and not args[0].startswith("-") else args, takes, first=True)
    words = [word for word in options.operands if word not in _OWN_WORDS]
    for word in words:
        if " " in word:
            call.shell(word.strip("\n"))
    if words and " " not in words[0]:
        call.run(words)
    return UNKNOWN


def _terminal(call: Call) -> str:
    """screen, tmux and terminals: the words after their option are a command."""
    args = call.args
    if call.name in _MULTIPLEXERS:
        return _multiplexer(call)
    for place, arg in enumerate(args):
        if arg in ("-e", "-x", "--", "--command", "-c"):
            rest = args[place + 1 :]
            return call.shell(rest[0]) if len(rest) == 1 else call.run(rest) if rest else UNKNOWN
    call.find("interactive")
    return UNKNOWN


REPEATING: Handlers = {
    "xargs gxargs": _xargs,
    "find gfind": _find,
    "fd fdfind": _fd,
    "locate mlocate plocate": _locate,
    "ssh autossh slogin": _ssh,
    "entr watchexec nodemon": _entr,
    "script scriptreplay": with_options(_script, "-c --command -I -O -B -T -E -m -o --log-in --log-out --log-io"),
    (
        "screen tmux dtach abduco xterm gnome-terminal konsole uxterm alacritty kitty xfce4-terminal "
        "terminator urxvt rxvt lxterminal foot"
    ): _terminal,
    "parallel": _parallel,
    "watch": with_options(_watch, "-n --interval -q --equexit", first=True),
}
