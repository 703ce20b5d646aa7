"""A state folder on a network disk is told of: what SQLite needs holds among the processes of one machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pointsman.dispatch.dispatcher import Dispatcher
from pointsman.dispatch.state import disks

Make = Callable[..., Dispatcher]

TABLE = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:50 / /home rw,relatime shared:5 - nfs4 server:/home rw,vers=4.2
31 30 0:51 / /home/ann/local rw - xfs /dev/vdb rw
32 22 0:52 / /mnt/with\040space rw - fuse.sshfs ann@host: rw
33 22 0:53 / /mnt/covered rw - cifs //host/share rw
34 33 0:54 / /mnt/covered rw - ext4 /dev/vdc rw
35 22 0:55 / /run rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/srv/app/.pointsman", None),
        ("/home/ann/app/.pointsman", "nfs4"),
        ("/homes/ann", None),
        ("/home/ann/local/app", None),
        ("/mnt/with space/app", "fuse.sshfs"),
        ("/mnt/covered/app", None),
        ("/run/app", None),
    ],
)
def test_the_nearest_mount_says_what_a_folder_lies_on(tmp_path: Path, folder: str, kind: str | None) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    assert disks.network_disk(Path(folder), table) == kind


def test_a_system_without_a_table_of_mounts_is_asked_nothing(tmp_path: Path) -> None:
    assert disks.network_disk(tmp_path, tmp_path / "none") is None


def test_a_dispatcher_whose_state_lies_on_a_network_disk_says_so_once(
    dispatcher: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"22 1 0:50 / / rw - ext4 /dev/vda rw\n23 22 0:51 / {tmp_path} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(disks.network_disk, "__defaults__", (table,))
    dispatcher()
    dispatcher()
    (said,) = [record.getMessage() for record in caplog.records if "network disk" in record.getMessage()]
    assert said.endswith(
        "(nfs4), where its databases may be used by one machine at a time: set POINTSMAN_STATE to a local folder"
    )
