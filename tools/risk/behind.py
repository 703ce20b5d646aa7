"""Commands among the arguments of an unknown program, which may run them."""

from __future__ import annotations

import re

from .calls import Call
from .programs.tables import SHELLS
from .values import known, names

__all__ = ["begins_a_command", "runs_what_it_is_given"]

_COMMANDS = SHELLS | names(
    "rm rmdir shred unlink dd mkfs chmod chown chgrp mv cp ln tee truncate find xargs cat curl wget nc ncat socat ssh "
    "scp rsync sudo doas su pkexec eval env nohup setsid python python3 perl ruby node php awk sed tar base64 openssl "
    "docker systemctl crontab pkill killall iptables mkfifo busybox git pip npm npx"
)
"""Names that always mean the program, wherever they stand; words such as ``install`` or ``kill`` do not."""
_BEGINS = re.compile(
    r"(?:^|[;&|({]|\n|\$\(|`|\b(?:then|do|else)\s)\s*(?:(?:exec|command|[A-Za-z_]\w*=\S*)\s+)*([^\s;|&<>]+)(?=\s)"
)
"""Where a command may begin in a text."""
_PREFIX = re.compile(r"^(?:--[\w-]+=|-\w(?=\w+\s)|\w+:(?=\S+\s))")
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"")


def runs_what_it_is_given(call: Call) -> None:
    """Judge what an unknown program may run: the words from a command's name on, and texts that begin with a command.

    Examples are ``tsp rm -rf ~``, ``conda run -n x rm -rf ~`` and ``concurrently 'rm -rf ~' 'npm start'``.
    """
    for place, arg in enumerate(call.args):
        if _names(arg) and place + 1 < len(call.args):
            call.run(call.args[place:])
            return
        text = _PREFIX.sub("", arg) if " " in arg else ""
        for one in (text, *_QUOTED.findall(arg)) if arg[:1] in "{[" else (text,):
            if begins_a_command(one):
                call.shell(one)


def begins_a_command(text: str) -> bool:
    """Whether a text, or a command inside it, begins with a known program's name followed by something."""
    return any(map(_names, _BEGINS.findall(text)))


def _names(word: str) -> bool:
    return known(word) and re.sub(r"^/(?:usr/(?:local/)?)?s?bin/", "", word) in _COMMANDS
