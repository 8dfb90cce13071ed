"""An account with a small believable library, for trying the product without an Apple account.

Belongs here: which pictures the demo account has. Does not belong here: how they are painted (`media.sample`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from media.capture import read_capture_date
from media.sample import APPLE, APPLE_NEXT, CAMERA, generate
from services.icloud_standin.accounts import Account
from services.icloud_standin.standin import ICloudStandin

NAME = "demo@example.com"
PASSWORD = "demo-password"  # noqa: S105 -- of an account that exists on this machine alone
_BERLIN_SUMMER = 7200


@dataclass(frozen=True)
class _Shot:
    """One asset and the files of the sample library that it consists of."""

    original: str
    live: str | None = None
    edited: str | None = None
    raw: str | None = None
    albums: tuple[str, ...] = ()
    favourite: bool = False
    title: str | None = None
    caption: str | None = None
    location: tuple[float, float] | None = None


_SHOTS = (
    _Shot(f"{APPLE}/IMG_0001.HEIC", albums=("Berlin",), location=(52.5163, 13.3777)),
    _Shot(f"{APPLE}/IMG_0002.HEIC", live=f"{APPLE}/IMG_0002.MOV", albums=("Ostsee",), favourite=True),
    _Shot(f"{APPLE}/IMG_0003.JPG", albums=("Reisen",), caption="Auf der Brücke"),
    _Shot(f"{APPLE}/IMG_0004.MOV", albums=("Reisen",)),
    _Shot(f"{APPLE}/IMG_0005.PNG"),
    _Shot(f"{APPLE}/IMG_0006.HEIC", albums=("Reisen",), title="Tokio"),
    _Shot(f"{APPLE}/IMG_0007.JPG", edited=f"{APPLE}/IMG_E0007.JPG", favourite=True),
    _Shot(f"{APPLE}/IMG_0008.JPG", albums=("Reisen",)),
    _Shot(f"{APPLE_NEXT}/IMG_0003.JPG", albums=("Ostsee",), location=(54.4310, 13.0270)),
    _Shot(f"{APPLE_NEXT}/IMG_0010.JPG", albums=("Berlin",)),
    _Shot(f"{CAMERA}/IMG_20180505_184210.jpg", raw=f"{CAMERA}/IMG_20180505_184210.dng"),
    _Shot(f"{CAMERA}/IMG_20190714_153012.jpg"),
    _Shot(f"{CAMERA}/IMG_20200229_120000.jpg"),
    _Shot(f"{CAMERA}/VID_20200808_120000.mp4"),
)
_LATE = _Shot("Lightroom/2015/DSC_0042.JPG", albums=("Reisen",))


def demo_account(icloud: ICloudStandin, folder: Path) -> Account:
    """Makes the demo account.

    Args:
        icloud: Where.
        folder: For the pictures, which must stay there while it serves.
    """
    generate(folder)
    account = icloud.account(NAME, PASSWORD, trusted_device=True, phones=("+49 ••• •••••81",))
    for shot in _SHOTS:
        _add(account, folder, shot)
    return account


def time_passes(account: Account, folder: Path) -> None:
    """Changes the library as a person does: one favourite, one deleted, one imported that is years old."""
    library = account.library()
    first, second, *_ = library.assets
    library.favourite(first, True)
    library.delete(second)
    _add(account, folder, _LATE)


def _add(account: Account, folder: Path, shot: _Shot) -> None:
    taken, offset_seconds = _date(folder / shot.original)
    account.library().add(
        Path(shot.original).name,
        folder / shot.original,
        taken=taken,
        offset_seconds=offset_seconds,
        live=_file(folder, shot.live),
        edited=_file(folder, shot.edited),
        raw=_file(folder, shot.raw),
        favourite=shot.favourite,
        title=shot.title,
        caption=shot.caption,
        location=shot.location,
        albums=shot.albums,
    )


def _file(folder: Path, name: str | None) -> Path | None:
    return None if name is None else folder / name


def _date(path: Path) -> tuple[datetime, int]:
    date = read_capture_date(
        path, timezone="Europe/Berlin", mtime_ns=path.stat().st_mtime_ns, first_seen=datetime.now(UTC)
    )
    offset_seconds = _BERLIN_SUMMER if date.offset_minutes is None else 60 * date.offset_minutes
    local = date.local.replace(tzinfo=UTC).timestamp()
    return datetime.fromtimestamp(local - offset_seconds, UTC), offset_seconds
