"""On which disk a folder stands: from what the system says, and the same one when in doubt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resources.mounts import Blocks, Mount, disks_of, mount_of, name_of_disk, parse_mountinfo, same_disk, share_a_disk

MOUNTINFO = r"""22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
23 22 8:3 / /home rw - xfs /dev/sda3 rw
24 22 8:17 / /mnt/archive rw - ext4 /dev/sdb1 rw
25 22 0:40 /@photos /mnt/photos rw - btrfs /dev/sdc rw,subvol=/@photos
26 22 0:41 /@backup /mnt/backup rw - btrfs /dev/sdc rw,subvol=/@backup
27 22 0:50 / /tank/photos rw - zfs tank/photos rw
28 22 0:51 / /tank/backup rw - zfs tank/backup rw
29 22 0:52 / /pool rw - zfs other rw
30 22 0:60 / /mnt/nas rw - nfs4 nas:/volume1/photos rw,vers=4.2,addr=192.168.1.5
31 22 0:61 / /mnt/nas\040too rw - cifs //NAS.local/backup rw,username=me,addr=192.168.1.5
32 22 0:62 / /mnt/nas3 rw - nfs other.lan:/photos rw
33 22 0:63 / /mnt/ssh rw - fuse.sshfs me@Other.lan:/photos rw
34 22 0:64 / /mnt/self rw - nfs4 localhost:/photos rw,addr=127.0.0.1
35 22 0:65 / /mnt/merged rw - fuse.mergerfs disk1:disk2 rw
36 22 0:66 / /mnt/memory rw - tmpfs tmpfs rw
37 22 0:67 / /mnt/host rw - 9p C:\134 rw
38 22 253:0 / /mnt/crypt rw - ext4 /dev/mapper/photos rw
39 22 9:0 / /mnt/raid rw - ext4 /dev/md0 rw
40 22 7:0 / /mnt/loop rw - ext4 /dev/loop0 rw
41 22 8:99 / /mnt/gone rw - ext4 /dev/sdz1 rw
42 24 8:17 /inside /mnt/bind rw - ext4 /dev/sdb1 rw

not a line of a mount
"""


@pytest.fixture
def blocks(tmp_path: Path) -> Blocks:
    """Disks sda with three partitions, sdb and sdc; crypt on sda3, an array of sdb1 and sdc, a pool on sda3."""
    devices = tmp_path / "sys/devices"

    def device(path: str, number: str, partition: bool = False, slaves: tuple[str, ...] = ()) -> Path:
        node = devices / path
        (node / "slaves").mkdir(parents=True)
        if partition:
            (node / "partition").write_text("1")
        for folder, name in (("dev/block", number), ("class/block", node.name)):
            link = tmp_path / "sys" / folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(node)
        for slave in slaves:
            (node / "slaves" / os.path.basename(slave)).symlink_to(devices / slave)
        return node

    device("ata1/sda", "8:0")
    for number in (2, 3):
        device(f"ata1/sda/sda{number}", f"8:{number}", partition=True)
    device("ata2/sdb", "8:16")
    device("ata2/sdb/sdb1", "8:17", partition=True)
    device("ata3/sdc", "8:32")
    device("virtual/dm-0", "253:0", slaves=("ata1/sda/sda3",))
    device("virtual/md0", "9:0", slaves=("ata2/sdb/sdb1", "ata3/sdc"))
    device("virtual/loop0", "7:0")
    udev = tmp_path / "udev"
    udev.mkdir()
    (udev / "b8:3").write_text("S:disk/by-id/x\nE:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=tank\n")
    (udev / "b8:16").write_text("E:ID_FS_TYPE=ext4\nE:ID_FS_LABEL=other\n")
    return Blocks(tmp_path / "sys", udev, tmp_path / "by-uuid")


def shares(one: str, other: str, blocks: Blocks) -> bool:
    both = {share_a_disk(Path(a), Path(b), parse_mountinfo(MOUNTINFO), blocks) for a, b in ((one, other), (other, one))}
    (answer,) = both
    return answer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/home/me/originals", "/srv/archive"),  # two partitions of one disk
        ("/mnt/photos", "/mnt/backup"),  # Btrfs subvolumes
        ("/tank/photos", "/tank/backup"),  # datasets of one pool
        ("/tank/photos", "/home/me"),  # the pool's partition is on that disk
        ("/mnt/nas/a", "/mnt/nas too/b"),  # two shares of one server, by its address
        ("/mnt/nas3", "/mnt/ssh"),  # two ways to one server, by its name
        ("/mnt/crypt", "/home/me"),  # encrypted, on a partition of that disk
        ("/mnt/raid", "/mnt/archive"),  # an array that has that disk
        ("/mnt/raid", "/mnt/photos"),
        ("/mnt/archive", "/mnt/bind"),  # the same folder by two names
    ],
)
def test_what_would_be_lost_together_is_one_disk(one: str, other: str, blocks: Blocks) -> None:
    assert shares(one, other, blocks)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/home/me/originals", "/mnt/archive"),
        ("/home/me/originals", "/mnt/photos"),
        ("/home/me/originals", "/mnt/nas"),
        ("/tank/photos", "/mnt/archive"),
        ("/mnt/nas", "/mnt/nas3"),
        ("/mnt/raid", "/mnt/crypt"),
    ],
)
def test_another_disk_is_told_from_this_one(one: str, other: str, blocks: Blocks) -> None:
    assert not shares(one, other, blocks)


@pytest.mark.parametrize(
    "doubtful",
    [
        "/pool",  # a pool of which nobody says where it is
        "/mnt/merged",
        "/mnt/memory",
        "/mnt/host",
        "/mnt/self",  # served by this machine
        "/mnt/loop",  # a file somewhere
        "/mnt/gone/a",  # a device that the kernel does not name
    ],
)
@pytest.mark.parametrize("other", ["/home/me", "/mnt/archive", "/mnt/nas"])
def test_when_in_doubt_it_is_the_same_disk(doubtful: str, other: str, blocks: Blocks) -> None:
    assert shares(doubtful, other, blocks)


def test_where_the_system_says_nothing_every_disk_is_the_same(tmp_path: Path) -> None:
    silent = Blocks(tmp_path / "sys", tmp_path / "udev", tmp_path / "by-uuid")
    assert shares("/home/me", "/mnt/archive", silent)
    assert share_a_disk(Path("/a"), Path("/b"), [], silent)
    assert disks_of(None, silent) == frozenset()


def test_the_deepest_mount_counts_and_of_two_at_one_place_the_later() -> None:
    mounts = parse_mountinfo(MOUNTINFO)
    found = mount_of(Path("/mnt/nas too/a b"), mounts)
    assert found is not None
    assert (found.mountpoint, found.fstype) == ("/mnt/nas too", "cifs")
    covered = [Mount("/mnt", "ext4", "/dev/sda1"), Mount("/mnt", "xfs", "/dev/sdb1")]
    assert mount_of(Path("/mnt/a"), covered) == covered[1]
    assert mount_of(Path("/srv"), covered) is None
    assert parse_mountinfo("") == []


def test_a_disk_keeps_its_name_when_the_system_numbers_it_anew(tmp_path: Path) -> None:
    (tmp_path / "by-uuid").mkdir()
    (tmp_path / "by-uuid" / "1234-abcd").symlink_to("/dev/sdb1")
    blocks = Blocks(tmp_path / "sys", tmp_path / "udev", tmp_path / "by-uuid")
    mounts = parse_mountinfo(MOUNTINFO)
    assert name_of_disk(Path("/mnt/archive/x"), mounts, blocks) == "ext4 UUID=1234-abcd"
    assert name_of_disk(Path("/mnt/nas/x"), mounts, blocks) == "nfs4 nas:/volume1/photos"
    assert name_of_disk(Path("/home/me"), mounts, blocks) == "xfs /dev/sda3"
    assert name_of_disk(Path("/home/me"), [], blocks) == ""


def test_a_folder_shares_its_disk_with_itself_and_one_that_is_gone_is_an_error(tmp_path: Path) -> None:
    assert same_disk(tmp_path, tmp_path)
    with pytest.raises(FileNotFoundError):
        same_disk(tmp_path, tmp_path / "nowhere")
