"""Detects folders on a network disk, where SQLite's write-ahead log works for only one machine at a time."""

from __future__ import annotations

import logging
import os
import re
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["network_disk", "said_of", "warn_of_network_disk"]

_MOUNTS: Final = Path("/proc/self/mountinfo")
_NETWORK: Final = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|auristorfs|ceph|glusterfs|lustre|gfs2?|ocfs2|beegfs|gpfs|ncpfs|coda|davfs2?|"
    r"fuse\.(sshfs|glusterfs|ceph|s3fs|rclone|gcsfuse|davfs|smb.*|nfs.*|juicefs|blobfuse2?|goofys|mount-s3|curlftpfs)"
)
"""Types of filesystems that several machines share (Linux, ``filesystems(5)`` and the names used by FUSE)."""
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")

_log = logging.getLogger(__name__)


def network_disk(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return which kind of network disk a folder is on.

    Args:
        folder: The folder, which need not exist yet.
        mounts: The system's mount table, in the format of ``/proc/self/mountinfo`` (proc(5)).

    Returns:
        The type of its filesystem, such as ``nfs4``; None if it is not a network filesystem or there is no mount table.
    """
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = Path(os.path.realpath(folder))
    kind, depth = "", -1
    for line in lines:
        fields, _, rest = line.partition(" - ")
        point = Path(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields.split(" ")[4]))
        # Of two mounts on one point, the later hides the earlier.
        if place.is_relative_to(point) and len(point.parts) >= depth:
            kind, depth = rest.split(" ")[0], len(point.parts)
    return kind if _NETWORK.fullmatch(kind) else None


@cache
def warn_of_network_disk(folder: Path) -> None:
    """Log a warning, once per process, if a state folder is on a network disk."""
    kind = network_disk(folder)
    if kind is not None:
        _log.warning("the state folder %s %s", folder, said_of(kind))


def said_of(kind: str) -> str:
    """Return what a user should know about a state folder on such a disk."""
    return (
        f"lies on a network disk ({kind}), where its databases may be used by one machine at a time: "
        "set POINTSMAN_STATE to a local folder"
    )
