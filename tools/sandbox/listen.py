"""Run inside a sandbox without a network: open a socket on its own loopback, pass it out, and become the command.

A process that receives a listening socket serves it from where it is, so nothing else crosses the border: no path
that a command could open, and no process that would need more permissions than the command.

Run as ``python listen.py DESCRIPTOR PORT WORD...``.
"""

from __future__ import annotations

import os
import socket
import sys

__all__ = ["main"]


def main(descriptor: int, port: int, words: list[str]) -> None:
    """Send the socket over the descriptor of a connected socket, then replace this process with the command's words."""
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    with socket.socket(fileno=descriptor) as outside:
        socket.send_fds(outside, [b"listening"], [listener.fileno()])
    listener.close()
    os.execv(words[0], words)  # noqa: S606 - running a shell is the purpose


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
