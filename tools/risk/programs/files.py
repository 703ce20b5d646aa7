"""Programs that copy, change and delete files."""

from __future__ import annotations

import re
from itertools import pairwise

from ..calls import Call, Handlers, Options, options_of, with_options
from ..places import Place, holds_secrets, place_of
from ..values import DATA, HOLES, REMOTE, UNKNOWN, known

__all__ = ["FILES"]


def _rm(call: Call, options: Options) -> str:
    whole = "-r -R --recursive" in options
    call.deletes(*options.operands, whole=whole)
    if "--no-preserve-root" in options:
        call.find("wipes")
    if not options.operands:
        call.find("deletes")
    return ""


def _shred(call: Call, options: Options) -> str:
    call.deletes(*options.operands)
    call.find("hides", "overwrites what it deletes")
    return ""


def _truncate(call: Call, options: Options) -> str:
    for one in options.operands:
        place = place_of(call.path(one))
        if place in (Place.SYSTEM, Place.OUTSIDE, Place.HOME):
            call.deletes(one)
        else:
            call.writes(one)
    return ""


def _copy(call: Call) -> str:
    """cp, mv, install, ln: record what is read and written, and remember what the target then holds."""
    takes = "-t -S --target-directory --suffix -m -o -g --mode --owner --group"
    options = options_of(call.args, takes)
    operands = list(options.operands)
    target = options.value("-t --target-directory") or (operands.pop() if len(operands) > 1 else "")
    if "-d --directory" in options and call.name == "install":
        call.writes(*options.operands)
        return ""
    for one in operands:
        path = call.path(one)
        if call.name == "mv":
            _moved(call, one, target)
        elif call.name != "ln":
            call.reads(one)
        if path in call.scope.files and target:
            held = call.scope.files[path]
            for goal in (target, f"{target.rstrip('/')}/{path.rpartition('/')[2]}"):
                call.scope.write(call.path(goal), held)
    if target:
        call.writes(target if not target.endswith("/") else target + "x")
    if call.name == "ln" and operands:
        _linked(call, operands[0], target or operands[0].rstrip("/").rpartition("/")[2])
    if any(re.search(r"[4267]\d{3}|\+s|=\w*s", mode) for mode in options.each("-m --mode")):
        call.find("permissions", "setuid")
    return ""


def _linked(call: Call, source: str, target: str) -> None:
    path, at = call.path(source), call.path(target)
    if path == "/dev/null":
        call.deletes(target)
    if holds_secrets(path):
        call.find("credentials", source)
    call.scope.links[at] = path


def _moved(call: Call, source: str, target: str) -> None:
    place = place_of(call.path(source))
    if call.path(target) == "/dev/null":
        call.deletes(source)
    elif place in (Place.ROOT, Place.HOME, Place.SYSTEM, Place.DOCUMENTS):
        call.deletes(source)
        call.reads(source)
    elif place_of(call.path(target)) is Place.TEMPORARY is not place or call.path(source) == ".git":
        call.deletes(source)  # files in a sandbox's /tmp are lost when it ends
    else:
        call.reads(source)
        call.find("writes", source)


def _dd(call: Call) -> str:
    settings = dict(arg.split("=", 1) for arg in call.args if "=" in arg)
    call.reads(*([settings["if"]] if "if" in settings else []))
    if target := settings.get("of"):
        call.writes(target)
        call.scope.write(call.path(target), DATA)
    if "if" in settings:
        return call.scope.files.get(call.path(settings["if"]), DATA)
    return call.stdin or DATA


_MODE = re.compile(
    r"(?:^|,)(?:[ugoa]*[+=][rwxXst]*s|[oa]*\+\w*w|[ugo]*o[+=]\w*w)|^0*[2467][0-7]{3}$|^0*[0-7]{2}[2367]$|^0*[1-7][0-7]{3}$"
)


def _chmod(call: Call) -> str:
    options = options_of([arg for arg in call.args if not re.fullmatch(r"-[rwxXst]+", arg)], "--reference")
    modes = [arg for arg in call.args if re.fullmatch(r"-[rwxXst]+", arg)]
    operands = options.operands
    mode = modes[0] if modes else operands[0] if operands else ""
    paths = operands if modes or "--reference" in options else operands[1:]
    if re.search(r"[ugoa]*[+=]\w*s|^0*[2467][0-7]{3}$", mode):
        call.find("permissions", "setuid or setgid")
    elif _MODE.search(mode):
        call.find("permissions", mode)
    private = known(mode) and re.fullmatch(r"0*[0-7][0145]{1}[0145]{1}|[ugo]*-\w+", mode)
    for path in paths:
        code = _rule_of(call, path, whole="-R --recursive" in options)
        if code == "writes" and not private and re.search(r"(?:^|/)\.ssh/|/etc/", call.path(path)):
            code = "protected-write"
        call.find(code, path)
        if (held := call.scope.files.get(call.path(path))) and REMOTE in held:
            call.find("downloads-system", path)
    return ""


def _chown(call: Call, options: Options) -> str:
    operands = options.operands
    owner = operands[0] if operands else ""
    if owner.split(":")[0] in ("root", "0"):
        call.find("permissions", owner)
    for path in operands[1:]:
        call.find(_rule_of(call, path, whole="-R --recursive" in options), path)
    return ""


def _rule_of(call: Call, path: str, *, whole: bool) -> str:
    """Return the rule for changing the owner or the mode of a path, recursively if ``whole``."""
    place = place_of(call.path(path))
    if place in (Place.ROOT, Place.HOME):
        return "wipes" if whole else "system-write"
    return "system-write" if place in (Place.SYSTEM, Place.DOCUMENTS, Place.DEVICE) else "writes"


def _touch(call: Call, options: Options) -> str:
    if "-t -d -r --date --reference" in options:
        call.find("hides", "sets other times than now")
    call.find("writes")
    call.writes(*(one for one in options.operands if call.path(one)[:1] not in HOLES))
    return ""


def _sed(call: Call, options: Options) -> str:
    scripts = list(options.each("-e --expression"))
    operands = list(options.operands)
    if not scripts and "-f --file" not in options and operands:
        scripts = [operands.pop(0)]
    for script in scripts:
        _sed_script(call, script)
    for file in options.each("-f --file"):
        held = call.stdin if file in ("-", "/dev/stdin") else call.scope.files.get(call.path(file))
        if held is not None:
            _sed_script(call, held)
    call.reads(*operands, *options.each("-f --file"))
    if any(name[:2] == "-i" or name.startswith("--in-p") for name, _ in options.given):
        call.writes(*operands)
        return ""
    text = DATA if operands or call.stdin is None else call.stdin
    return UNKNOWN if known(text) else REMOTE if REMOTE in text else DATA


def _sed_script(call: Call, script: str) -> None:
    """Judge the sed commands that run, read or write; what cannot be parsed counts as text."""
    place = 0
    while place < len(script):
        letter = script[place]
        if letter in "sy" and place + 1 < len(script) and script[place + 1] not in " \n;a-zA-Z":
            place = _substitution(call, script, place)
        elif letter == "/" or (letter == "\\" and place + 2 < len(script)):
            sign, begin = ("/", place + 1) if letter == "/" else (script[place + 1], place + 2)
            place = _closing(script, begin, sign) + 1
        elif letter in "erRwW":
            rest = script[place + 1 :].split("\n")[0]
            place += 1 + len(rest)
            rest = rest.strip()
            if letter == "e":
                call.runs_by("sed e", rest.rstrip("}"))
            elif letter in "wW":
                call.writes(rest)
            else:
                call.reads(rest)
        elif letter in "aic:bt#":
            place = script.find("\n", place) + 1 or len(script)
        else:
            place += 1


def _closing(script: str, begin: int, sign: str) -> int:
    place = begin
    while place < len(script) and script[place] != sign:
        place += 2 if script[place] == "\\" else 1
    return place


def _substitution(call: Call, script: str, place: int) -> int:
    sign = script[place + 1]
    middle = _closing(script, place + 2, sign)
    end = _closing(script, middle + 1, sign)
    flags = re.match(r"[gpiIm0-9]*([ew]?)[gpiIm0-9]*(?:\s+([^\n;}]+))?", script[end + 1 :])
    if script[place] == "s" and flags is not None:
        if flags[1] == "e" or re.match(r"[gpiIm0-9]*e", script[end + 1 :]):
            call.runs_by("sed s///e", script[middle + 1 : end])
        elif flags[1] == "w" and flags[2]:
            call.writes(flags[2].strip())
        return end + 1 + flags.end()
    return end + 1


_TAR_TAKES = (
    "-f -C -T -X -b -g -I -F -H -L -N -V -K --file --directory --files-from --exclude-from --exclude "
    "--transform --checkpoint --checkpoint-action --to-command --use-compress-program --info-script "
    "--new-volume-script --rsh-command --rmt-command --strip-components --owner --group --mode --xform"
)


def _tar(call: Call) -> str:
    args = list(call.args)
    if args and re.fullmatch(r"[a-zA-Z]+", args[0]):
        args[0] = "-" + args[0]
    options = options_of(args, _TAR_TAKES)
    programs = options.each("--to-command --info-script --new-volume-script --rsh-command --rmt-command -F")
    call.runs_by("tar", *programs)
    actions = options.each("--checkpoint-action")
    call.runs_by("tar --checkpoint-action", *(action[5:] for action in actions if action.startswith("exec=")))
    for text in options.each("-I --use-compress-program"):
        call.shell(text)
    archive = options.value("-f --file") or ""
    _unpacked(call, archive)
    if ":" in archive and "--force-local" not in options:
        call.find("sends", archive)
    creates = "-c -r -u -A --create --append --update" in options
    if creates:
        call.reads(*options.operands)
        if archive not in ("", "-"):
            call.writes(archive)
        if "--remove-files" in options:
            call.deletes(*options.operands, whole=True)
        return DATA
    if "-x --extract --get" in options:
        if "-P --absolute-names" in options:
            call.find("unknown-target", "absolute names")
        call.unpacks(options.value("-C --directory") or ".")
        if "-O --to-stdout" in options:
            return call.passed_on()
    return DATA


def _zip(call: Call) -> None:
    args = call.args
    for place, arg in enumerate(args):
        if arg.startswith("--unzip-command="):
            call.runs_by("zip --unzip-command", arg.partition("=")[2])
        elif arg in ("-TT", "--unzip-command") or arg.startswith("-TT"):
            value = args[place + 1] if arg in ("-TT", "--unzip-command") and place + 1 < len(args) else arg[3:]
            call.runs_by("zip -TT", value)
    operands = [arg for arg in args if not arg.startswith("-")]
    if any(re.match(r"-e$|-P|--password|--encrypt", arg) for arg in args):
        call.find("encrypts" if any(call.path(one)[:1] in "/~" for one in operands[1:]) else "writes")
    call.reads(*operands[1:])
    call.writes(*operands[:1])


def _sevenzip(call: Call) -> None:
    operands = [arg for arg in call.args if not arg.startswith("-")][1:]
    if any(arg.startswith(("-p", "-hp")) for arg in call.args) and call.args[:1] in (["a"], ["u"]):
        call.find("encrypts" if any(call.path(one)[:1] in "/~" for one in operands[1:]) else "writes")
    call.reads(*operands[1:])
    call.find("writes")
    if call.args[:1] in (["x"], ["e"]):
        call.unpacks(next((arg[2:] for arg in call.args if arg.startswith("-o") and len(arg) > 2), "."))


def _unpacked(call: Call, archive: str) -> None:
    """Record that the workspace holds code from outside, if the archive came from there."""
    held = call.stdin if archive in ("", "-") else call.scope.files.get(call.path(archive))
    call.scope.brought |= REMOTE in (held or "")


def _unzip(call: Call, options: Options) -> str:
    if "-l -v -t -Z" in options:
        return DATA
    _unpacked(call, options.operands[0] if options.operands else "")
    call.unpacks(options.value("-d") or ".")
    return DATA


_UNPACK_TAKES = {
    "cpio": "-D --directory -F -I -O -H -E -R",
    "pax": "-f -s -x -b",
    "jar": "-C",
    "unar": "-o -output-directory -e -p",
    "unsquashfs": "-d -dest -p -processors",
}


def _unpacks(call: Call) -> None:
    """Other programs that unpack an archive: into the folder they name, or into the current folder."""
    args = call.args
    options = options_of(args, _UNPACK_TAKES.get(call.name, ""), single=call.name == "unsquashfs")
    operands = list(options.operands)
    call.find("writes")
    call.brings(args)
    if call.name == "cpio":
        if "-i --extract -p --pass-through" in options and "-t --list" not in options:
            call.unpacks(options.value("-D --directory") or (operands[0] if "-p" in options and operands else "."))
    elif call.name == "pax":
        if "-r" in options:
            call.unpacks(operands[-1] if "-w" in options and operands else ".")
    elif call.name == "jar":
        if args[:1] and re.match(r"-?-?(?:x|extract)", args[0]):
            call.unpacks(options.value("-C") or ".")
        else:
            call.writes(*operands[:1])
    elif call.name == "dpkg-deb":
        if "-x -X -R --extract --vextract --raw-extract" in options and len(operands) > 1:
            call.unpacks(operands[1])
    elif call.name in ("unrar", "rar") and operands[:1] not in (["x"], ["e"]):
        call.writes(*operands[1:2])
    else:
        call.unpacks(options.value("-d -dest -o -output-directory") or (operands[-1] if operands[2:] else "."))


def _patch(call: Call) -> None:
    options = options_of(call.args, "-d --directory -i --input -o --output -p -r --reject-file -F -B -D -V -Y -z -g")
    if "--dry-run" in options or "-C --check" in options:
        return
    call.find("writes")
    call.brings(call.args)
    call.reads(*options.each("-i --input"), *options.operands[1:2])
    if written := [*options.operands[:1], *options.each("-o --output")]:
        call.writes(*written)
    else:
        call.unpacks(options.value("-d --directory") or ".")


def _writes_out(call: Call, options: Options) -> str:
    """split and similar programs: judge the options that run a command, and record the files written."""
    call.runs_by(f"{call.name} --filter", *options.each("--filter"))
    call.reads(*options.operands[:1])
    call.find("writes")
    return ""


_EDITORS_RUN = re.compile(
    r"(?:^|\|)\s*:?\s*(?:silent\s+)?(?:%|\d*,?\$?)?(?:w\s+)?!\s*(.*)|\b(?:system|termopen|jobstart|os\.execute|call-process|shell-command)\b"
)


def _editor(call: Call) -> None:
    args = call.args
    takes = "-p" if call.name in ("ed", "red") else "-c -u -S -s --cmd --eval -eval -f --funcall -l --load -i -T"
    options = options_of(args, takes, single=True)
    for text in options.each("-c --cmd --eval -eval"):
        _edited(call, text)
    for arg, following in pairwise([*args, ""]):
        if re.fullmatch(r"-[a-zA-Z]{1,3}c", arg):
            _edited(call, following)
        if arg.startswith("+") and len(arg) > 1:
            _edited(call, arg[1:])
    for file in options.each("-S -u -l --load"):
        if file not in ("NONE", "NORC"):
            call.find("unread-file", file)
    if call.stdin is not None and call.name in ("ed", "ex", "vi", "vim"):
        for line in call.stdin.splitlines():
            _edited(call, line)
    call.writes(*(one for one in options.operands if not one.startswith("+")))


_LISP = re.compile(
    r"\((?:delete-|rename-|copy-|write-|append-to-file|make-(?:symbolic|process|network)|load|require|eval|call-|start-|url-)"
)
"""Emacs Lisp functions that change files, or run or fetch something."""


def _edited(call: Call, text: str) -> None:
    if re.match(r"\s*:?\s*(?:sh|shell|ter|term|terminal|set\s+shell\b.*)\s*$", text):
        call.find("option-runs", call.name)
        return
    if opened := re.match(r"\s*([erw])\s+(\S+)\s*$", text):
        (call.writes if opened[1] == "w" else call.reads)(opened[2])
    if re.match(r"\s*\(", text) and _LISP.search(text):
        call.find("unknown-code", "editor")
    found = _EDITORS_RUN.search(text)
    if found is None:
        if re.search(r"\b(?:py(?:thon3?|x)?|lua|ruby|perl)\b\s", text):
            call.find("unknown-code", "editor")
        return
    call.find("option-runs", call.name)
    if found[1]:
        call.shell(found[1])


def _pager(call: Call) -> str:
    # In the pager's ``+`` commands, what follows ``!`` is passed to a shell.
    call.runs_by(call.name, *(arg.partition("!")[2] for arg in call.args if arg.startswith("+") and "!" in arg))
    call.reads(*(arg for arg in call.args if arg[:1] not in ("-", "+")))
    return DATA if call.stdin is None else call.passed_on()


FILES: Handlers = {
    "rm unlink trash trash-put gomi del erase grm": with_options(_rm),
    "srm shred wipe": with_options(_shred, "-n -s --iterations --size --random-source"),
    "truncate": with_options(_truncate, "-s -r --size --reference"),
    "cp mv install ln link gcp gmv": _copy,
    "dd dcfldd ddrescue": _dd,
    "chmod": _chmod,
    "chown chgrp": with_options(_chown, "--from --reference"),
    "touch": with_options(_touch, "-t -d -r --date --reference --time"),
    "sed gsed": with_options(_sed, "-e -f -l --expression --file --line-length"),
    "tar gtar bsdtar": _tar,
    "zip": _zip,
    "7z 7za 7zr": _sevenzip,
    "unzip": with_options(_unzip, "-d -x -P"),
    "cpio pax jar unar unrar rar unsquashfs dpkg-deb": _unpacks,
    "patch gpatch": _patch,
    "less more": _pager,
    "split csplit": with_options(_writes_out, "--filter -b -l -n -a -C --bytes --lines --number --suffix-length"),
    "vi vim nvim view vimdiff ed ex emacs rvim gvim emacsclient": _editor,
}
