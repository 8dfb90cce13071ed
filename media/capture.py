"""When a picture was taken: the local day and time where it happened, and how that is known.

Belongs here: reading and judging dates in headers, sidecars and names. Does not belong here: finding
the header fields (see `metadata`), or what a date means for a partition.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from media.kinds import Header, Identity, Kind, identify_header
from media.metadata import BROKEN, Exif, read_exif, read_quicktime

_OLDEST_YEAR = 1826  # the year of the oldest photograph that survives
_OLDEST_FILE_TIME = datetime(1981, 1, 1, tzinfo=UTC)  # 1970 and 1980 are what clocks without a battery say
_SIDECAR_CAP = 256 << 10
# EXIF: (date, offset, sub-seconds), the best first: original, digitized, changed.
_EXIF_DATES = ((0x9003, 0x9011, 0x9291), (0x9004, 0x9012, 0x9292), (0x0132, 0x9010, 0x9290))
_STAMP = re.compile(
    r"\s*(\d{4})[:\-/.](\d\d)[:\-/.](\d\d)(?:[T ]+(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?"
    r"\s*(?:GMT|UTC)?(Z|[+-]\d\d?(?::?\d\d)?)?"
)
_OFFSET = re.compile(r"\s*([+-])(\d\d?)(?::?(\d\d))?$")
_XMP_DATES = tuple(
    re.compile(rf"""{name}(?:\s*=\s*["']|\s*>\s*)([^"'<]+)""")
    for name in ("exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate")
)
_DAY_IN_NAME = r"(?<!\d)((?:199|20\d)\d)([-_.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])"
_TIME_IN_NAME = r"(?:[-_. T]| at |_at_)?([01]\d|2[0-3])([-_.:h]?)([0-5]\d)\6([0-5]\d)(\d{3})?(?!\d)"
_NAME_WITH_TIME = re.compile(_DAY_IN_NAME + _TIME_IN_NAME)
_NAME_WITH_HALF_DAY = re.compile(_DAY_IN_NAME + r" at (\d{1,2})\.([0-5]\d)\.([0-5]\d)\s?([AP])M")
_NAME_WITH_DAY = re.compile(_DAY_IN_NAME + r"(?!\d)")


@dataclass(frozen=True, slots=True)
class CaptureDate:
    """When a picture was taken.

    Attributes:
        local: Wall clock time where it was taken, without a zone.
        offset_minutes: What that clock was ahead of UTC, in minutes; None where nothing says so.
        provenance: "exif_offset", "exif", "quicktime", "quicktime_utc", "sidecar", "filename",
            "file_time" or "first_seen".
    """

    local: datetime
    offset_minutes: int | None
    provenance: str


def read_capture_date(
    path: str | Path,
    *,
    timezone: str,
    mtime_ns: int,
    first_seen: datetime,
    sidecars: Sequence[str | Path] = (),
) -> CaptureDate:
    """Finds out when a file was taken, from the best source that has a possible date.

    Args:
        path: The file; at most 1 MiB of it is read, and no pixel is decoded.
        timezone: Name of the zone in which times known only in UTC are told, such as "Europe/Berlin".
        mtime_ns: Modification time of the file, in nanoseconds since 1970.
        first_seen: When this platform first saw the file; an aware datetime.
        sidecars: XMP or Takeout JSON files that belong to it. One that is gone is passed over.

    Returns:
        The date; every file has one, since the moment it was first seen is the last resort.

    Raises:
        OSError: The file cannot be read.
        ZoneInfoNotFoundError: There is no such time zone.
    """
    zone = ZoneInfo(timezone)
    return (
        _from_header(path, zone)
        or _from_sidecars(sidecars, zone)
        or _from_name(Path(path).name, zone)
        or _from_file_time(mtime_ns, first_seen, zone)
        or CaptureDate(*_wall_clock(first_seen, zone), "first_seen")
    )


def _from_header(path: str | Path, zone: ZoneInfo) -> CaptureDate | None:
    with Header(path) as header:
        identity = identify_header(header, str(path))
        if identity is None:
            return None
        if identity.kind is Kind.VIDEO:
            return _from_movie(header, identity, zone)
        return _from_exif(read_exif(header, identity))


def _from_exif(exif: Exif | None) -> CaptureDate | None:
    for date, offset, subsec in _EXIF_DATES if exif else ():
        texts = exif.texts if exif else {}
        stamp = _stamp(texts.get(date, ""))
        if stamp is None:
            continue
        local = _with_fraction(stamp.local, texts.get(subsec, ""))
        minutes = _offset(texts.get(offset, ""))
        minutes = stamp.offset_minutes if minutes is None else minutes
        return CaptureDate(local, minutes, "exif" if minutes is None else "exif_offset")
    return None


def _from_movie(header: Header, identity: Identity, zone: ZoneInfo) -> CaptureDate | None:
    if identity.format == "avi":
        return _from_avi(header)
    if identity.format in ("mkv", "webm"):
        moment = _matroska_date(header)
        return _in_zone(moment, zone, "quicktime_utc") if moment else None
    movie = read_quicktime(header)
    for key in ("com.apple.quicktime.creationdate", "©day"):
        stamp = _stamp(movie.keys.get(key, ""))
        if stamp and (stamp.offset_minutes is not None or key != "©day"):
            return stamp
    return _in_zone(movie.created, zone, "quicktime_utc") if movie.created else None


def _from_avi(header: Header) -> CaptureDate | None:
    """Cameras write the local time into an IDIT chunk near the start, such as "THU OCT 26 16:46:04 2006"."""
    head = header.at(0, 64 << 10)
    at = head.find(b"IDIT")
    if at < 0:
        return None
    text = head[at + 8 : at + 48].split(b"\0")[0].decode("latin-1").strip()
    with contextlib.suppress(ValueError):
        return _possible(datetime.strptime(text.title(), "%a %b %d %H:%M:%S %Y"), None, "exif")
    stamp = _stamp(text)
    return CaptureDate(stamp.local, None, "exif") if stamp else None


def _matroska_date(header: Header) -> datetime | None:
    """Reads DateUTC: element 0x4461, eight bytes, nanoseconds since 2001 (RFC 9559)."""
    head = header.at(0, 64 << 10)
    at = head.find(b"\x44\x61\x88")
    if at < 0 or len(head) < at + 11:
        return None
    with contextlib.suppress(OverflowError):
        nanoseconds = int.from_bytes(head[at + 3 : at + 11], "big", signed=True)
        return datetime(2001, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)
    return None


def _from_sidecars(sidecars: Sequence[str | Path], zone: ZoneInfo) -> CaptureDate | None:
    for path in sidecars:
        with contextlib.suppress(FileNotFoundError), Header(path, _SIDECAR_CAP) as header:
            text = header.at(0, header.size) if header.size <= 64 << 10 else _long_text(header)
            date = _from_takeout(text, zone) or _from_xmp(text.decode("utf-8", "replace"))
            if date:
                return date
    return None


def _long_text(header: Header) -> bytes:
    # The first read holds the start already; the rest is one more read, so that the cap suffices.
    start = header.at(0, 64 << 10)
    return start + header.at(len(start), min(header.size, _SIDECAR_CAP) - len(start))


def _from_takeout(text: bytes, zone: ZoneInfo) -> CaptureDate | None:
    with contextlib.suppress(*BROKEN, TypeError, AttributeError, RecursionError, OSError):
        parsed: Any = json.loads(text)
        moment = datetime.fromtimestamp(int(parsed["photoTakenTime"]["timestamp"]), UTC)
        return _in_zone(moment, zone, "sidecar")
    return None


def _from_xmp(text: str) -> CaptureDate | None:
    for pattern in _XMP_DATES:
        for found in pattern.finditer(text):
            if stamp := _stamp(found[1]):
                return CaptureDate(stamp.local, stamp.offset_minutes, "sidecar")
    return None


def _from_name(name: str, zone: ZoneInfo) -> CaptureDate | None:
    if found := _NAME_WITH_HALF_DAY.search(name):
        year, _, month, day, hour, minute, second, half = found.groups()
        if 1 <= int(hour) <= 12:
            clock = int(hour) % 12 + (12 if half == "P" else 0)
            return _date(year, month, day, str(clock), minute, second, provenance="filename")
    for found in _NAME_WITH_TIME.finditer(name):
        year, _, month, day, hour, _, minute, second, thousandths = found.groups()
        date = _date(year, month, day, hour, minute, second, thousandths or "", provenance="filename")
        if date and name.startswith("PXL_"):
            # Google's camera counts in UTC in these names, in local time in the older IMG_ ones.
            return _in_zone(date.local.replace(tzinfo=UTC), zone, "filename")
        if date:
            return date
    for found in _NAME_WITH_DAY.finditer(name):
        if date := _date(found[1], found[3], found[4], provenance="filename"):
            return date
    return None


def _from_file_time(mtime_ns: int, first_seen: datetime, zone: ZoneInfo) -> CaptureDate | None:
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=mtime_ns // 1000)
    except OverflowError:
        return None
    # A file cannot have been written after it was seen; a day is left for clocks that differ.
    if not _OLDEST_FILE_TIME <= moment <= first_seen + timedelta(days=1):
        return None
    return _in_zone(moment, zone, "file_time")


def _in_zone(moment: datetime, zone: ZoneInfo, provenance: str) -> CaptureDate | None:
    try:
        return _possible(*_wall_clock(moment, zone), provenance)
    except OverflowError:
        return None


def _wall_clock(moment: datetime, zone: ZoneInfo) -> tuple[datetime, int]:
    there = moment.astimezone(zone)
    offset = there.utcoffset() or timedelta(0)
    return there.replace(tzinfo=None), round(offset.total_seconds() / 60)


def _stamp(text: str) -> CaptureDate | None:
    """Reads "2019:07:04 12:34:56", ISO 8601 and what lies between; None for impossible dates."""
    found = _STAMP.match(text)
    if not found:
        return None
    *parts, fraction, zone = found.groups()
    minutes = _offset(zone or "")
    year, month, day, hour, minute, second = (part or "0" for part in parts)
    date = _date(year, month, day, hour, minute, second, fraction or "", provenance="quicktime")
    return CaptureDate(date.local, minutes, "quicktime") if date else None


def _date(
    year: str, month: str, day: str, hour: str = "0", minute: str = "0", second: str = "0", fraction: str = "",
    *, provenance: str,
) -> CaptureDate | None:  # fmt: skip
    try:
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second))
    except ValueError:
        return None
    return _possible(_with_fraction(local, fraction), None, provenance)


def _possible(local: datetime, minutes: int | None, provenance: str) -> CaptureDate | None:
    return CaptureDate(local, minutes, provenance) if local.year >= _OLDEST_YEAR else None


def _with_fraction(local: datetime, digits: str) -> datetime:
    digits = digits.strip()
    if not (digits.isascii() and digits.isdigit()):
        return local
    return local.replace(microsecond=int(digits[:6].ljust(6, "0")))


def _offset(text: str) -> int | None:
    """Reads "+02:00", "-0330" or "Z" as minutes ahead of UTC; None for what no place on earth has."""
    if text.strip() == "Z":
        return 0
    found = _OFFSET.match(text.strip())
    if not found:
        return None
    past_hour = int(found[3] or 0)
    minutes = int(found[2]) * 60 + past_hour
    return (minutes if found[1] == "+" else -minutes) if minutes <= 14 * 60 and past_hour < 60 else None
