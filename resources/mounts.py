"""What is mounted, and on which disks a folder stands.

Belongs here: reading /proc/self/mountinfo, and what /sys and udev say of block devices. Does not belong here: what
follows from it (`resources.postgres_home`, `resources.archive`, `pipeline.proofs`).

Two folders share a disk unless the opposite is known: two partitions, Btrfs subvolumes, datasets of one ZFS pool and
shares of one server would be lost together, and a copy on the same disk is none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MOUNTINFO = Path("/proc/self/mountinfo")
NETWORK = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|afpfs|ceph|glusterfs|lustre|beegfs|davfs2?|webdav|ncpfs"
    r"|fuse\.(sshfs|rclone|s3fs|gcsfuse|glusterfs|ceph|juicefs|davfs2?|gvfsd-fuse|curlftpfs|goofys|blobfuse2?|smbnetfs"
    r"|mount-s3|seaweedfs)"
)
# The folder of a virtual machine's host, which may be where the machine's own disk lies.
_OF_THE_HOST = re.compile(r"9p|virtiofs")
# In memory, or in a file that lies on another disk.
_NO_DISK = re.compile(r"(ram|zram|loop|nbd)\d+")
_THIS_MACHINE = re.compile(r"localhost|127\..*|::1")


class Mount(NamedTuple):
    """A mounted file system.

    Attributes:
        mountpoint: Where.
        fstype: Of which kind.
        source: What is mounted: a device, a share, a dataset.
        device: Its number, `major:minor`; the major one is 0 where no block device stands behind it alone.
        options: Of the file system.
    """

    mountpoint: str
    fstype: str
    source: str = ""
    device: str = ""
    options: str = ""


def parse_mountinfo(text: str) -> list[Mount]:
    """Returns what is mounted, in the order in which it was mounted.

    Args:
        text: The content of /proc/self/mountinfo.
    """
    mounts = []
    for line in text.split("\n"):
        before, separator, after = line.partition(" - ")
        fields, system = before.split(" "), after.split(" ")
        if separator and len(fields) > 4 and len(system) > 1:
            options = system[2] if len(system) > 2 else ""
            mounts.append(Mount(_plain(fields[4]), system[0], _plain(system[1]), fields[2], options))
    return mounts


def mounted() -> list[Mount]:
    """Returns what is mounted now; nothing where the system does not say."""
    try:
        return parse_mountinfo(MOUNTINFO.read_text("utf-8", "surrogateescape"))
    except OSError:
        return []


def mount_of(path: Path, mounts: Iterable[Mount]) -> Mount | None:
    """Returns the mount on which a path lies.

    Args:
        path: Absolute, without links; it need not exist.
        mounts: What is mounted, in the order in which it was mounted.
    """
    inside = [mount for mount in mounts if path.is_relative_to(mount.mountpoint)]
    if not inside:
        return None
    deepest = max(len(mount.mountpoint) for mount in inside)
    return [mount for mount in inside if len(mount.mountpoint) == deepest][-1]


@dataclass(frozen=True, slots=True)
class Blocks:
    """What the system says of block devices.

    Attributes:
        sys: Where the kernel says it.
        udev: Where udev keeps what it found on them.
        by_uuid: Their names by what is on them.
    """

    sys: Path = Path("/sys")
    udev: Path = Path("/run/udev/data")
    by_uuid: Path = Path("/dev/disk/by-uuid")

    def disks(self, mount: Mount) -> frozenset[str]:
        """Returns the disks behind a device that is mounted; nothing when they are not known."""
        by_number = self.sys / "dev/block" / mount.device
        by_name = self.sys / "class/block" / os.path.basename(os.path.realpath(mount.source))
        if mount.device and not mount.device.startswith("0:"):
            return self._below(by_number)
        return self._below(by_name) if mount.source.startswith("/dev/") else frozenset()

    def disks_of_pool(self, pool: str) -> frozenset[str]:
        """Returns the disks of a ZFS pool; nothing when they are not known."""
        found: frozenset[str] = frozenset()
        for entry in self.udev.glob("b*:*"):
            said = entry.read_text("utf-8", "replace").splitlines()
            if {"E:ID_FS_TYPE=zfs_member", f"E:ID_FS_LABEL={pool}"} <= set(said):
                found |= self._below(self.sys / "dev/block" / entry.name[1:])
        return found

    def lasting_name(self, source: str) -> str:
        """Returns a name of a device that it keeps over a restart, as far as it has one."""
        device = os.path.realpath(source)
        if source.startswith("/dev/") and self.by_uuid.is_dir():
            for link in sorted(self.by_uuid.iterdir()):
                if os.path.realpath(link) == device:
                    return f"UUID={link.name}"
        return source

    def _below(self, node: Path) -> frozenset[str]:
        """Returns the disks below a partition, a volume or an array."""
        if not node.exists() or _NO_DISK.fullmatch((node := node.resolve()).name):
            return frozenset()
        if (node / "partition").exists():
            return self._below(node.parent)
        slaves = sorted((node / "slaves").iterdir()) if (node / "slaves").is_dir() else []
        if not slaves:
            return frozenset({node.name})
        disks = [self._below(slave) for slave in slaves]
        return frozenset().union(*disks) if all(disks) else frozenset()


def disks_of(mount: Mount | None, blocks: Blocks) -> frozenset[str]:
    """Returns what would be lost together with a mount, a server counting as one disk; nothing when it is not known."""
    if mount is None or _OF_THE_HOST.fullmatch(mount.fstype):
        return frozenset()
    if NETWORK.fullmatch(mount.fstype.lower()):
        server = _server(mount)
        return frozenset() if not server or _THIS_MACHINE.fullmatch(server) else frozenset({f"server {server}"})
    if mount.fstype == "zfs":
        return blocks.disks_of_pool(mount.source.partition("/")[0])
    return blocks.disks(mount)


def share_a_disk(one: Path, other: Path, mounts: Iterable[Mount], blocks: Blocks) -> bool:
    """Returns whether two folders would be lost together, as far as is known; when in doubt they would.

    Args:
        one: A folder, absolute and without links.
        other: Another one.
        mounts: What is mounted.
        blocks: What the system says of block devices.
    """
    mounts = list(mounts)
    first, second = (disks_of(mount_of(folder, mounts), blocks) for folder in (one, other))
    return not first or not second or bool(first & second)


def same_disk(one: Path, other: Path) -> bool:
    """Returns whether two folders would be lost together now; when in doubt they would.

    Raises:
        OSError: One of them cannot be looked at.
    """
    if os.stat(one).st_dev == os.stat(other).st_dev:
        return True
    return share_a_disk(Path(os.path.realpath(one)), Path(os.path.realpath(other)), mounted(), Blocks())


def name_of_disk(folder: Path, mounts: Iterable[Mount], blocks: Blocks) -> str:
    """Returns what is mounted where a folder lies, by a name that it keeps over a restart as far as it has one."""
    mount = mount_of(folder, mounts)
    return "" if mount is None else f"{mount.fstype} {blocks.lasting_name(mount.source)}"


def present_disk(folder: Path) -> str:
    """Returns what is mounted now where a folder lies, see `name_of_disk`."""
    return name_of_disk(Path(os.path.realpath(folder)), mounted(), Blocks())


def _server(mount: Mount) -> str:
    """Returns who serves a share: by its address, for it may have several names."""
    for option in mount.options.split(","):
        name, _, value = option.partition("=")
        if name == "addr" and value:
            return value
    source = mount.source.removeprefix("//")
    host = (
        source.partition("/")[0] if source != mount.source else source.rpartition(":/")[0] or source.partition(":")[0]
    )
    return host.rpartition("@")[2].strip("[]").lower()


def _plain(field: str) -> str:
    """Returns a field without the octal escapes that stand for blanks, tabs, line ends and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
