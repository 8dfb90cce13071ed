"""What makes a home unfit for a database: better no catalog than a broken one.

Belongs here: looking at a home and refusing it. Does not belong here: changing anything in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from resources.mounts import NETWORK, Mount, mount_of
from resources.postgres_tools import SERVER_VERSION, Account

_WITHOUT_PERMISSIONS = re.compile(r"vfat|msdos|fat|(fuse\.)?exfat|ntfs3?|fuseblk|fuse\.ntfs-3g|hfs")


class HomeRefused(Exception):
    """A home folder is not touched because something there could be lost (exit code 5)."""


# --- what a home must be ---


def refuse_mount(home: Path, mounts: Iterable[Mount]) -> None:
    """Refuses a home on a file system where a database would be damaged.

    Args:
        home: The home folder; it need not exist.
        mounts: What is mounted, in the order in which it was mounted.

    Raises:
        HomeRefused: The file system is on a network, or keeps no permissions.
    """
    if (mount := mount_of(home, mounts)) is None:
        return
    kind = mount.fstype.lower()
    advice = "Choose a home on a disk of this machine (pictures may stay where they are), or give the URL of a server."
    if NETWORK.fullmatch(kind):
        raise HomeRefused(
            f"{home} is on a network mount ({mount.fstype} at {mount.mountpoint}): a database there gets damaged when "
            f"the network fails. {advice}"
        )
    if _WITHOUT_PERMISSIONS.fullmatch(kind):
        raise HomeRefused(
            f"{home} is on {mount.fstype} at {mount.mountpoint}, which keeps no permissions: a database cannot be "
            f"there. {advice}"
        )


def refuse_missing_database(home: Path, data: Path, marker: Path) -> None:
    """Refuses a home that had a database and has none any more."""
    if not (data / "PG_VERSION").is_file():
        raise HomeRefused(
            f"The database folder {data} is gone or incomplete, and {marker} says that there was one. Nothing was "
            f"changed. Is a disk not mounted? Restore the folder from a backup of {home}, or choose another home."
        )


def refuse_other_version(data: Path) -> None:
    """Refuses a database that another version of PostgreSQL wrote."""
    found = (data / "PG_VERSION").read_text(encoding="utf-8").strip()
    if found != SERVER_VERSION:
        raise HomeRefused(
            f"The database in {data} was made by PostgreSQL {found}, and this version brings "
            f"{SERVER_VERSION}. Nothing was "
            "changed. Install the earlier version of mediapipe-assets, dump the database, and restore it here."
        )


def refuse_other_owner(data: Path, account: Account | None) -> None:
    """Refuses a database that belongs to another account than the server would run as."""
    owner, wanted = data.stat().st_uid, os.geteuid() if account is None else account.uid
    if owner != wanted:
        raise HomeRefused(
            f"The database in {data} belongs to the account with number {owner}, and this process would use {wanted}. "
            "Run it as the person who made this home, or choose another home."
        )
