"""What kind of place a path names, judged by its text alone."""

from __future__ import annotations

import re
from enum import Enum
from fnmatch import fnmatchcase

from .values import HOLES

__all__ = ["Place", "holds_secrets", "place_of", "runs_later", "tidy"]


class Place(Enum):
    """Where a path leads."""

    UNKNOWN = "unknown"
    NOTHING = "nothing"  # /dev/null and other streams
    NETWORK = "network"  # bash's /dev/tcp
    DEVICE = "device"
    ROOT = "root"
    HOME = "home"  # all of a user's files
    SYSTEM = "system"
    DOCUMENTS = "documents"  # system files that everyone may read
    TEMPORARY = "temporary"
    OUTSIDE = "outside"
    WORKSPACE = "workspace"
    WHOLE = "whole workspace"


_STREAMS = re.compile(r"/dev/(?:null|zero|full|u?random|std(?:in|out|err)|fd(?:/.*)?|tty|ptmx)$|/proc/self/fd/\d+$")
_DISKS = re.compile(r"/dev/(?!shm(?:/|$)|tty|pts|input|null)|\\\\\.\\")
_SYSTEM = re.compile(
    r"/(?:etc|usr|bin|s?bin|lib\w*|boot|sys|proc|var|opt|root|dev|System|Library|Applications|private/(?:etc|var)|run|srv"
    r"|cygdrive/c/Windows|mnt/c/Windows)(?:/|$)|/(?:vmlinuz|initrd)|[cC]:[\\/](?:Windows|Program)"
)
_TEMPORARY = re.compile(r"/(?:private/)?(?:var/)?tmp(?:/|$)|/dev/shm(?:/|$)|/(?:private/)?var/folders/")
_DOCUMENTS = re.compile(
    r"/usr/(?:share/(?:doc|man|dict|info|zoneinfo|locale|icons|fonts)|include|lib|local|src|bin|sbin)(?:/|$)"
    r"|/etc/(?:os-release|hostname|hosts|lsb-release|issue|timezone|resolv\.conf|debian_version|redhat-release"
    r"|mime\.types|services|protocols|networks|locale\.conf|localtime|machine-info)$|/etc/default/locale$"
    r"|/proc/(?:cpuinfo|meminfo|loadavg|uptime|version|stat|mounts|filesystems|diskstats"
    r"|self/(?:status|stat|cgroup|limits))$"
    r"|/sys/class/|/(?:opt|lib|bin|sbin|srv|Library|Applications)(?:/|$)|/run/(?!secrets)"
)
_HOMES = re.compile(r"(?:/home/[^/]+|/Users/[^/]+|(?P<root>/(?:private/)?(?:var/)?root))(?=/|$)")
_SECRETS = re.compile(
    r"(?:^|/)(?:id_(?:rsa|dsa|ecdsa|ed25519)(?:_\w+)?|\.netrc|\.pgpass|\.my\.cnf|\.git-credentials|\.npmrc|\.pypirc"
    r"|\.vault-token|\.htpasswd|wallet\.dat|key[34]\.db|logins\.json|Login Data\b.*"
    r"|Cookies(?:\.binarycookies|\.sqlite)?|cookies\.sqlite|Local State"
    r"|credentials\.(?:json|ya?ml|xml|csv)|secrets?\.(?:json|ya?ml|toml|env)"
    r"|terraform\.tfstate"
    r"|\.env(?:\.(?:local|prod|production|staging|dev|development|test))?|service[-_]account\w*\.json"
    r"|[^/]*\.(?:kdbx|keystore|jks|p12|pfx|keychain(?:-db)?|ppk|key|bash_history)"
    r"|\.(?:bash|zsh|sh|python|mysql|psql|sqlite|node_repl|rediscli)_?history|\.histfile|\.viminfo)$"
    r"|~\w*/\.(?:ssh|gnupg|aws|kube|azure|password-store|mozilla)$"
    r"|~\w*/\.ssh/(?!(?:known_hosts|config|[^/]*\.pub)$)[^/]+"
    r"|~\w*/\.(?:aws|azure|gnupg|kube|docker|oci)/(?!config$)."
    r"|~\w*/\.(?:kube|docker)/config|~\w*/\.config/(?:gcloud|gh|hub|rclone|op)\b|/Keychains?/"
    r"|/\.password-store/|/\.mozilla/firefox|~\w*/Library/(?:Mail|Messages|Cookies|Safari)\b|^(?:/private)?/var/(?:spool/)?mail/"
    r"|/Google/Chrome/|/google-chrome/|/BraveSoftware/"
    r"|^/etc/(?:g?shadow|sudoers|master\.passwd|security/opasswd|krb5\.keytab|ssl/private|ipsec\.secrets|ppp/chap-secrets)"
    r"|^/etc/(?:ssh/ssh_host_\w+_key|NetworkManager/system-connections|wireguard)|^/etc/shadow-"
    r"|^/proc/[^/]+/(?:environ|mem|maps?|fd|root)(?:/|$)|^/proc/kcore|^/dev/k?mem|^/var/lib/(?:sss|docker|kubelet|mysql)"
    r"|^(?:/var)?/run/secrets/|/serviceaccount/token|^/var/db/dslocal"
)
_KNOWN_SECRETS = (
    "/etc/shadow", "/etc/passwd", "/etc/gshadow", "/etc/sudoers", "/etc/master.passwd", "~/.ssh/id_rsa",
    "~/.ssh/id_ed25519", "~/.aws/credentials", "~/.netrc", "~/.bash_history", "~/.zsh_history", "~/.kube/config",
    "/proc/1/environ", "/proc/self/environ", "/etc/ssh/ssh_host_rsa_key", ".env",
)  # fmt: skip
_RUNS_LATER = re.compile(
    r"(?:^|/)(?:\.(?:bashrc|shrc|bash_profile|bash_login|bash_logout|bash_aliases|profile|zshrc|zshenv|zprofile|zlogin|zlogout|kshrc"
    r"|cshrc|tcshrc|login|logout|inputrc|envrc|vimrc|exrc|gdbinit|lldbinit|pythonrc|pdbrc|irbrc|tmux\.conf|screenrc|xinitrc"
    r"|xsession|xprofile|emacs|curlrc|wgetrc|gitconfig|hgrc|rhosts|shosts|netrc|npmrc|pypirc|yarnrc(?:\.yml)?"
    r"|pre-commit-config\.yaml|gitlab-ci\.yml|travis\.yml|drone\.yml|mcp\.json)"
    r"|authorized_keys2?|sitecustomize\.py|usercustomize\.py|[^/]+\.pth|Jenkinsfile|hosts\.equiv|\$PROFILE)$"
    r"|(?:^|/)\.(?:git/(?:hooks|config|info/attributes|modules)|githooks|husky|github|gitlab|circleci|buildkite|ssh|gnupg"
    r"|vscode|idea|claude|cursor|codex|gemini|docker|kube|aws|pointsman)(?:/|$)"
    r"|(?:^|/)\.config/(?:autostart|systemd|fish|git|nvim|pip|environment\.d)(?:/|$)|(?:^|/)\.local/bin/|~/bin/"
    r"|/(?:LaunchAgents|LaunchDaemons|StartupItems|cron[^/]*|site-packages|dist-packages|profile\.d)(?:/|$)"
)
_PATHLIKE = re.compile(r"[^\s<>|;&()'\"]+$")


def tidy(path: str, folder: str = "") -> str:
    """Normalize a path: a user's home as ``~``, without ``.``, ``..`` and doubled slashes where possible.

    Args:
        path: The path as written in a command, unknown parts as one of `HOLES`.
        folder: The folder the command runs in, tidy; empty for the workspace.
    """
    if path.startswith("file://"):
        path = path[7:]
    if not path.startswith(("/", "~", *HOLES)) and folder:
        path = f"{folder}/{path}"
    absolute = path.startswith("/")
    kept: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == ".." and kept and kept[-1] not in ("..", "~") and not any(hole in kept[-1] for hole in HOLES):
            kept.pop()
        elif part == ".." and absolute and not kept:
            continue
        else:
            kept.append(part)
    made = ("/" if absolute else "") + "/".join(kept)
    if path.startswith("./") and made and made[0] in HOLES:
        return "./" + made
    if absolute and (home := _HOMES.match(made)):
        made = ("~root" if home["root"] else "~") + made[home.end() :]
    return made or ("/" if absolute else ".")


def place_of(path: str) -> Place:
    """Return the kind of place a tidy path leads to."""
    if path[:1] in HOLES:
        return Place.UNKNOWN
    if path.startswith(("/dev/tcp/", "/dev/udp/")):
        return Place.NETWORK
    if path.startswith("/"):
        return _absolute(path)
    if path.startswith("~"):
        rest = path.rstrip("/").partition("/")[2]
        return Place.HOME if rest in ("", "*", ".*", "..", "[!.]*") or rest.startswith("..") else Place.OUTSIDE
    if path.startswith(".."):
        return Place.OUTSIDE
    return Place.WHOLE if path in (".", "*", ".*", "[!.]*", "**") else Place.WORKSPACE


def _absolute(path: str) -> Place:
    first = path.split("/")[1]
    if _STREAMS.match(path):
        return Place.NOTHING
    if _TEMPORARY.match(path):
        return Place.TEMPORARY
    if path == "/" or first[:1] in ("*", "?", "[", *HOLES):
        return Place.ROOT
    if path in ("/home", "/Users", "/home/*", "/Users/*"):
        return Place.HOME
    if _DISKS.match(path):
        return Place.DEVICE
    if any(sign in first for sign in "*?["):
        return Place.SYSTEM
    if _DOCUMENTS.match(path):
        return Place.DOCUMENTS
    return Place.SYSTEM if _SYSTEM.match(path) else Place.OUTSIDE


def holds_secrets(path: str) -> bool:
    """Whether a tidy path names keys, passwords or a store of them, or has a pattern that could match one."""
    if not _PATHLIKE.match(path) and "/" not in path:
        return False
    if path.endswith((".pub", ".example", ".sample", ".template")):
        return False
    if _SECRETS.search(path):
        return True
    return any(sign in path for sign in "*?[") and any(_could_be(path, known) for known in _KNOWN_SECRETS)


def _could_be(pattern: str, known: str) -> bool:
    """Whether a pattern that has literal text in its last part matches a path part by part."""
    parts, others = pattern.split("/"), known.split("/")
    if len(parts) != len(others) or len(re.sub(r"\[[^]]*\]|[*?.]", "", parts[-1])) < 2:
        return False
    return all(fnmatchcase(other, part) for part, other in zip(parts, others, strict=True))


def runs_later(path: str) -> bool:
    """Whether a file at a tidy path is run or obeyed later, by a shell, an editor, version control or a service."""
    return _RUNS_LATER.search(path) is not None
