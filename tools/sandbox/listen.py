"""Run inside a sandbox that has no network: open a socket on its own loopback, hand it out, and become the command.

Whoever is given a listening socket serves it from where he is, so that nothing else crosses the border: no path that
a command could open, and no process that would have to be allowed more than the command.

Run as ``python listen.py DESCRIPTOR PORT WORD...``.
"""

from __future__ import annotations

import os
import socket
import sys

__all__ = ["main"]


def main(descriptor: int, port: int, words: list[str]) -> None:
    """Hand the socket out over the descriptor of a connected one, then run the words in this process's place."""
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    with socket.socket(fileno=descriptor) as outside:
        socket.send_fds(outside, [b"listening"], [listener.fileno()])
    listener.close()
    os.execv(words[0], words)  # noqa: S606 - a shell is what was asked for


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
