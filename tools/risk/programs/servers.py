"""Programs that wait for connections: what they serve is open to anyone who can reach their address."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..calls import Call, Handlers, finds, handlers
from ..values import names

__all__ = ["APPLICATIONS", "SERVERS", "everywhere", "module_serves", "reachable", "serves"]

_LOOPBACK = re.compile(
    r"(?:\w+://)?(?:localhost|127(?:\.\d+){3}|\[?::1\]?|[\w.-]+\.localhost)(?::\d*)?(?:/.*)?$|unix:|/|\.{1,2}/"
)
_EVERYWHERE = re.compile(r"(?:^|[=,/])(?:0\.0\.0\.0(?::\d+)?|::|\[::\](?::\d+)?|\*:\d+)/?$")
_OPTIONS = names(
    "--host --hostname --bind --bind-address --bind_address --bind-addr --ip --address --addr --listen --listen-address"
    " --interface --web.listen-address --server.address --ServerApp.ip --NotebookApp.ip --http -b -H -a -l -i"
)
"""Options of servers whose value is the address to listen at; in other programs some mean something else."""
_ALL = names("--bind_all --bind-all --expose-all --public")
APPLICATIONS = names(
    "uvicorn gunicorn hypercorn daphne waitress-serve flask jupyter jupyter-lab jupyter-notebook vite next nuxt ng"
    " astro webpack webpack-dev-server expo streamlit puma rackup rails hugo mkdocs jekyll zola mdbook tensorboard"
    " code-server"
)
"""Programs that serve the workspace's own application, by default only to this machine."""
_MODULES = names("http.server SimpleHTTPServer CGIHTTPServer uploadserver smtpd aiosmtpd pyftpdlib twisted waitress")
_LOCAL_MODULES = names("pydoc flask uvicorn hypercorn daphne gunicorn django notebook jupyter")


def reachable(address: str) -> bool:
    """Whether other machines can connect to a server at this address; an address known only at run time counts."""
    return _LOOPBACK.match(address) is None


def _addresses(args: Sequence[str]) -> list[str]:
    """Return the addresses a server is told to listen at; an option without a value means every address."""
    found = []
    for place, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        following = args[place + 1] if place + 1 < len(args) else ""
        if name in _ALL:
            found.append("0.0.0.0")  # noqa: S104 - compared, never listened at
        elif name in _OPTIONS and (equals or name.startswith("--") or re.search(r"[.:*]|^localhost$", following)):
            found.append(value if equals else "" if following.startswith("-") else following)
        elif re.fullmatch(r"(?:[\w.*-]+|\[[0-9a-f:]*\]):\d{1,5}", arg):
            found.append(arg)
    # A port alone says nothing about the address.
    return [one for one in found if not re.fullmatch(r"\d{1,5}", one)]


def everywhere(args: Sequence[str]) -> bool:
    """Whether a program is told to listen at every address of the machine."""
    return any(arg in _ALL or _EVERYWHERE.search(arg) for arg in args)


def serves(call: Call, args: Sequence[str], *, everybody: bool) -> None:
    """Record the rules for listening.

    Args:
        call: The server's call.
        args: Its arguments, which may name addresses.
        everybody: Whether it listens at every address by default.
    """
    addresses = _addresses(args)
    if any(map(reachable, addresses)) or (everybody and not addresses):
        call.find("opens", " ".join(addresses))


def module_serves(call: Call, module: str, args: Sequence[str]) -> bool:
    """Judge a Python module that listens; return whether it is one."""
    if module not in _MODULES and module not in _LOCAL_MODULES:
        return False
    if module == "http.server" and any(
        call.path(arg)[:1] in "/~" or call.path(arg).startswith("..") for arg in args if "/" in arg or arg == ".."
    ):
        call.find("opens", module)
    serves(call, args, everybody=module in _MODULES)
    return True


def _files(call: Call) -> None:
    """Serve the files of a folder to anyone who asks."""
    call.find("workspace-code")
    serves(call, call.args, everybody=True)


def _when_told(call: Call) -> None:
    """Listen only if certain words are given."""
    if not _TOLD[call.name].isdisjoint(call.args):
        serves(call, call.args, everybody=True)
    call.find("unknown-program")


_TOLD = {
    "caddy": names("file-server run start respond reverse-proxy"),
    "twistd": names("web ftp conch portforward"),
    "twist": names("web ftp conch portforward"),
    "svnserve": names("-d --daemon -i -t -T -X"),
    "iperf": names("-s --server"),
    "iperf3": names("-s --server"),
    "fossil": names("server ui"),
    "adb": names("tcpip"),
}
SERVERS: Handlers = handlers(
    {
        "serve http-server live-server servor sirv local-web-server ws miniserve dufs simple-http-server": _files,
        "static-web-server darkhttpd webfsd woof httpd ftpd": _files,
        "caddy twistd twist svnserve iperf iperf3 fossil adb": _when_told,
        (
            "thttpd mini_httpd lighttpd nginx apache2 apache2ctl apachectl telnetd tftpd tcpsvd udpsvd tcpserver"
            " vsftpd proftpd pure-ftpd sshd dropbear smbd xinetd inetd systemd-socket-activate"
            " ttyd gotty wetty shellinaboxd tmate x11vnc vncserver x0vncserver gdbserver"
        ): finds("", where=r"(?:-t|-T|-v|-V|configtest|-list)$", otherwise="opens"),
    }
)
