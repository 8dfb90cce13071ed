"""Observations: what is seen, goes, and comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, text

from catalog import sources
from tests.the_catalog import DAY, NOON, add_content, add_observation

SEEN: dict[str, Any] = {
    "source": "photos", "source_id": "a.jpg", "version": "1-1", "folder": "", "stem_key": "a", "kind": "photo",
    "size": 1, "mtime_ns": 1, "capture_local": NOON, "capture_offset_minutes": None, "capture_provenance": "exif",
    "capture_flag": None, "partition_date": DAY,
}  # fmt: skip


def _states(connection: Connection) -> list[tuple[str, bool]]:
    rows = connection.execute(text("SELECT state, gone_at IS NULL AS present FROM source_files ORDER BY id"))
    return [(row.state, row.present) for row in rows]


def test_a_file_that_went_before_it_was_stored_waits_again_when_it_comes_back(connection: Connection) -> None:
    sources.register_source(connection, "photos", "folder", "/photos")
    sources.add_observations(connection, [SEEN])
    (row_id, *_) = sources.present_files(connection, "photos")[0]
    assert sources.mark_gone(connection, [row_id]) == 1
    assert _states(connection) == [("superseded", False)]
    sources.add_observations(connection, [SEEN])
    assert _states(connection) == [("pending", True)]


def test_a_kept_file_that_goes_and_comes_back_stays_kept(connection: Connection) -> None:
    content = add_content(connection)
    row_id = add_observation(connection, source_id="a.jpg", state="kept", media_file_id=content)
    assert sources.mark_gone(connection, [row_id]) == 0
    assert sources.kept_observation_is_gone(connection, content)
    sources.add_observations(connection, [SEEN])
    assert _states(connection) == [("kept", True)]
    assert not sources.kept_observation_is_gone(connection, content)


def test_a_failure_of_a_file_that_is_gone_meanwhile_is_no_failure_that_stays(connection: Connection) -> None:
    row_id = add_observation(connection)
    sources.mark_gone(connection, [row_id])  # the sensor saw it go while a run was reading it
    sources.settle(connection, row_id, "failed", reason="the file is gone")
    assert _states(connection) == [("superseded", False)]


def test_a_late_half_gets_the_day_of_the_lead_that_was_seen_before(connection: Connection) -> None:
    for kind, days in (("sidecar", 0), ("video", 1), ("photo", 2)):
        add_observation(connection, stem_key="img_1", kind=kind, partition_date=DAY + timedelta(days=days))
    add_observation(connection, stem_key="img_1", folder="other", partition_date=DAY + timedelta(days=5))
    found = sources.group_dates(connection, "photos", [("", "img_1"), ("", "img_2")])
    assert found == {("", "img_1"): DAY + timedelta(days=2)}
