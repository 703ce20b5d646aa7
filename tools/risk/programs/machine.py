"""Programs that act on the machine itself: its processes, jobs, mounts and messages."""

from __future__ import annotations

import re

from ..calls import Call, Handlers, Options, finds, options_of, with_options
from ..values import DATA, UNKNOWN, known

__all__ = ["MACHINE"]


def _kill(call: Call) -> str:
    args = list(call.args)
    if args[:1] in (["-l"], ["-L"], ["--list"]):
        return DATA
    if args[:1] == ["-0"] or args[:2] == ["-s", "0"]:
        return UNKNOWN
    if len(args) > 1 and re.match(r"-(?:\d+|[A-Z]+\d*)$", args[0]):
        args = args[1:]
    options = options_of([arg for arg in args if not re.match(r"-\d+$", arg)], "-s -n --signal")
    for target in [*options.operands, *(arg for arg in args if re.match(r"-\d+$", arg))]:
        if target[:1] in ("%", UNKNOWN):
            call.find("ends-own")
        else:
            call.find("processes", target)
    return ""


def _crontab(call: Call) -> None:
    if "-l" not in call.args:
        call.find("services", "crontab")
    if call.stdin is not None and known(call.stdin):
        for line in call.stdin.splitlines():
            found = re.match(r"\s*(?:@\w+|\S+\s+\S+\s+\S+\s+\S+\s+\S+)\s+(.+)", line)
            if found and not line.lstrip().startswith("#"):
                call.shell(found[1])


def _at(call: Call) -> str:
    if not any(arg in ("-l", "-V") for arg in call.args):
        call.find("services", call.name)
    if call.stdin is not None and known(call.stdin):
        call.shell(call.stdin)
    return UNKNOWN


def _date(call: Call) -> str:
    call.reads(*options_of(call.args, "-d -f -r -s --date --file --reference --set").each("-f --file"))
    words = [arg for arg in call.args if not arg.startswith("+")]
    told = re.fullmatch(r"\d{8,12}(?:\.\d\d)?", "".join(words[:1]))
    if told or any(re.match(r"-\w*s$|--set", word) for word in words):
        call.find("hides", "sets the clock")
    return UNKNOWN


def _osascript(call: Call) -> None:
    call.find("desktop")
    for arg in call.args:
        for text in re.findall(r'do shell script "((?:[^"\\]|\\.)*)"', arg):
            call.shell(text.replace('\\"', '"').replace("\\\\", "\\"))


def _gdb(call: Call) -> None:
    args = call.args
    options = options_of(
        args, "-ex -iex -x -p -c -d -eval-command --eval-command --command --pid -batch-x", single=True
    )
    for text in options.each("-ex -iex -eval-command --eval-command"):
        found = re.match(r"\s*(?:!|shell\s|pipe\s)\s*(.*)", text)
        if found:
            call.runs_by("gdb", found[1])
        elif re.match(r"\s*(?:python|py|call|print\s+\w*system|source|dump)", text):
            call.find("unknown-code", "gdb")
    if "-p --pid" in options:
        call.find("credentials", "another process")
    if "--args" in args:
        call.run(args[args.index("--args") + 1 :])
    call.find("writes")


def _tcpdump(call: Call, options: Options) -> None:
    for program in options.each("-z"):
        call.find("option-runs", "tcpdump -z")
        call.run([program])
    if "-r" not in options and "-D" not in options:
        call.find("records", "network")
    call.writes(*options.each("-w"))


def _man(call: Call, options: Options) -> None:
    call.runs_by("man", *options.each("-P --pager"), *options.each("-H --html"))


def _expect(call: Call, options: Options) -> str:
    for text in options.each("-c"):
        for found in re.findall(r"\b(?:spawn|exec|system)\s+([^;\n]+)", text):
            call.shell(found)
    if options.operands or "-f" in options or "-c" not in options:
        call.find("unread-file" if options.operands or "-f" in options else "interactive")
    return UNKNOWN


_POWER_HIDES = re.compile(
    r"-e(?:nc|ncodedcommand|c)?\b|\bI(?:EX|nvoke-Expression)\b|DownloadString|FromBase64|Invoke-WebRequest.*\|", re.I
)
_POWER_CHANGES = re.compile(
    r"Remove-Item|Stop-(?:Process|Service|Computer)|Restart-Computer|Set-ExecutionPolicy|Format-Volume|Clear-"
    r"|Set-MpPreference|New-Service|rm\b|del\b",
    re.I,
)


def _powershell(call: Call) -> None:
    text = " ".join(call.args)
    if _POWER_HIDES.search(text):
        call.find("unknown-code", "hidden in an option")
    elif _POWER_CHANGES.search(text):
        call.find("system-write", "PowerShell")
    elif re.search(r"-f(?:ile)?\b", text, re.IGNORECASE):
        call.find("unread-file", "PowerShell")
    else:
        call.find("code" if text else "interactive")


def _cmd(call: Call) -> str:
    words = [arg for arg in call.args if not re.match(r"/[a-z]$", arg, re.IGNORECASE)]
    if words:
        return call.shell(" ".join(words))
    call.find("interactive")
    return UNKNOWN


def _logger(call: Call, options: Options) -> str:
    call.reads(*options.each("-f --file"))
    if "-n --server" in options:
        call.find("sends")
    return ""


def _hdparm(call: Call) -> None:
    if any(arg.startswith(("--security", "--trim", "--write", "--fallocate", "--yes")) for arg in call.args):
        call.find("wipes")
    elif not any(re.match(r"-[iItTgv]+$", arg) for arg in call.args):
        call.find("system-write")


MACHINE: Handlers = {
    "kill": _kill,
    "pkill killall killall5 xkill skill taskkill": finds("processes", shown=3, prints=""),
    "fuser": finds("processes", where=r"-\w*k|--kill"),
    "mount": finds("system-write: mounts", where=r"(?!(?:-l|-t|--version|-V|-v|[\w,]+)$)"),
    "crontab fcrontab": _crontab,
    "at batch": _at,
    "date": _date,
    "history": finds("hides: history", where=r"-\w*[cdw]"),
    "osascript": _osascript,
    "gdb lldb": _gdb,
    "tcpdump": with_options(_tcpdump, "-z -w -i -c -r -G -W -C -Z -F"),
    "man": with_options(_man, "-P -H --pager --html -M -S -C"),
    "run-parts": finds("unread-file: run-parts", prints=UNKNOWN),
    "expect autoexpect": with_options(_expect, "-c -f -d"),
    "powershell pwsh": _powershell,
    "cmd": _cmd,
    "logger": with_options(_logger, "-f -t -p -n -P -i --file --server"),
    "modprobe": finds("", where=r"(?:-n|--dry-run|-c|--showconfig|--show-depends|-l)$", otherwise="kernel", shown=2),
    "hdparm": _hdparm,
    "sysctl": finds("kernel", where=r"[^=]*=|(?:-w|-p|--write|--load|--system)$", shown=2),
    "badblocks": finds("wipes", where=r"-\w*[wn]"),
    "gcore procdump": finds("credentials: memory of another process"),
    "grub-reboot": finds("power", prints=""),
    "wall": finds("writes", prints=""),
}
