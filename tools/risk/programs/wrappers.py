"""Programs that run the command after their own options, as data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WRAPPERS", "Wrapper"]


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A program that runs the command after its own options.

    Attributes:
        takes: Its options that take a value.
        skips: Number of its own operands before the command.
        text: Options whose value is a shell text.
        files: Options whose value is a file it writes.
        code: A rule that also applies.
        assigns: Variable assignments may precede the command.
        joins: The words are joined and read by a shell.
        single: Its long options begin with a single dash.
    """

    takes: str = ""
    skips: int = 0
    text: str = ""
    files: str = ""
    code: str = ""
    assigns: bool = False
    joins: bool = False
    single: bool = False


_WRAPPERS = {
    (
        "nohup setsid valgrind torify tsocks firejail unbuffer eatmydata ccache sccache distcc setarch arch "
        "linux32 linux64 i386 with-contenv dumb-init tini noglob nocorrect exec-once chronic ifne gtk-launch "
        "stdoutisatty rtkit winpty wine"
    ): Wrapper(),
    "nice": Wrapper("-n --adjustment"),
    "ionice": Wrapper("-c -n -p -P -u --class --classdata --pid"),
    "timeout gtimeout": Wrapper("-k -s --kill-after --signal", 1),
    "time gtime": Wrapper("-f -o --format --output", files="-o --output"),
    "stdbuf": Wrapper("-i -o -e --input --output --error"),
    "chrt": Wrapper("-T -P -D --sched-runtime", 1),
    "taskset setlock usleep logsave": Wrapper("", 1),
    "chroot": Wrapper("--userspec --groups", 1, code="privilege"),
    "unshare": Wrapper("--setgroups -S -G -R -w --root --wd --map-user --map-group --propagation --setuid --setgid"),
    "nsenter": Wrapper("-t --target -S -G -W --setuid --setgid", code="privilege"),
    "setpriv": Wrapper(
        "--reuid --regid --groups --inh-caps --ambient-caps --bounding-set --securebits", code="privilege"
    ),
    "capsh": Wrapper("", 0, code="privilege"),
    "runuser": Wrapper("-u -c -s -g -G --user --command", text="-c --command", code="privilege"),
    "strace": Wrapper("-e -o -p -s -u -E -a -S -P -I --output --trace", files="-o --output"),
    "ltrace": Wrapper("-e -o -p -s -u -a -n -l --output", files="-o --output"),
    "proxychains proxychains4 env-cmd": Wrapper("-f"),
    "torsocks": Wrapper("-a -P -u -p"),
    "bwrap": Wrapper(
        "--bind --ro-bind --dev --proc --tmpfs --chdir --setenv --unsetenv --uid --gid --hostname --seccomp --symlink"
        " --dir"
    ),
    "systemd-run": Wrapper(
        "-p -u -M -H -E --unit --property --uid --gid --slice --description --on-active --on-calendar --on-boot"
        " --setenv",
        code="services",
    ),
    "systemd-inhibit": Wrapper("--what --who --why --mode"),
    "dbus-run-session": Wrapper("--config-file"),
    "xvfb-run": Wrapper("-n -s -e -f -p -w --server-num --server-args"),
    "rlwrap": Wrapper("-a -b -f -H -l -S -s -C -P"),
    "cpulimit": Wrapper("-l -p -e --limit"),
    "daemonize": Wrapper("-c -e -o -p -l -u -E"),
    "start-stop-daemon": Wrapper(
        "-x -a -n -p -u -s -c -g -d --exec --startas --name --pidfile --user --signal --chuid --chdir",
        text="-x -a --exec --startas",
        code="services",
    ),
    "caffeinate": Wrapper("-t -w"),
    "aa-exec": Wrapper("-p --profile -n", code="privilege"),
    "prlimit": Wrapper("-p --pid"),
    "numactl": Wrapper("-N -m -C -i --cpunodebind --membind --physcpubind"),
    "fakeroot": Wrapper("-s -i -l"),
    "faketime": Wrapper("-f", 1),
    "sshpass": Wrapper("-p -f -d -P"),
    "chpst": Wrapper("-u -U -b -m -d -o -p -f -c -e -n"),
    "softlimit": Wrapper("-a -c -d -f -l -m -n -o -p -r -s -t"),
    "hyperfine": Wrapper(
        "-w -r -p -c -s -n --warmup --runs --prepare --export-json --export-markdown", text="-p --prepare", joins=True
    ),
    "perf": Wrapper("-e -o -p -F -C -g", 1),
    "dotenv": Wrapper("-f -e"),
    "cross-env": Wrapper(assigns=True),
    "proot": Wrapper("-r -b -q -w"),
    "ld.so": Wrapper("--library-path --preload --audit --argv0", code="environment"),
    "ld-linux-x86-64.so.2": Wrapper("--library-path --preload --audit --argv0", code="hidden-name"),
    "retry": Wrapper("-t -d -m --times --delay"),
    "choom": Wrapper("-n -p"),
    "uclampset": Wrapper("-m -M -p"),
    "dbus-launch": Wrapper("", single=True),
    "pv": Wrapper("-s -L -i -N -w -H -B -p", 1000),
    "arch-chroot": Wrapper("-u", 1, code="privilege"),
    "schroot": Wrapper("-c -u -d -p -s", code="privilege"),
    "sg": Wrapper("-c", 1, text="-c", joins=True, code="privilege"),
    "newgrp": Wrapper("-c", 1, text="-c", code="privilege"),
    "wsl": Wrapper("-d -u -e --distribution --user --exec", text="-e --exec"),
}
WRAPPERS = {name: wrapper for names, wrapper in _WRAPPERS.items() for name in names.split()}
