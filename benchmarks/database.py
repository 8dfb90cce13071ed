"""Catalogs of a size: rows as the chain would have left them, written by SQL.

Belongs here: filling a home's catalog without its files. Does not belong here: anything about how long
work on it takes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.session import CHECKOUT, environment_of

EARLIER_SOURCE = "earlier"

# Everything settled: stored, bundled, decided under today's plans, delivered and proven as original and as
# rendition, shown in the library. They are spread over 7,000 days.
_STATEMENTS = (
    "INSERT INTO sources (name, kind, location, file_count) VALUES ('earlier', 'folder', '/nowhere', :rows)",
    """
    INSERT INTO media_files (sha256, apple_checksum, phash, size, kind, format, mime, stored_root, stored_path,
        thumbnail_path, capture_local, capture_offset_minutes, capture_provenance, partition_date, width, height,
        orientation, make, model, state, deduplicated_at)
    SELECT encode(sha256(i::text::bytea), 'hex'), 'AQ' || i, sha256((i || 'look')::bytea), 3000000 + i, 'photo', 'jpeg',
        'image/jpeg', 'originals', to_char(day, 'YYYY/MM/DD') || '/IMG_' || i || '.jpg',
        to_char(day, 'YYYY/MM/DD') || '/' || i || '.jpg', day + interval '9 hours', 120, 'exif_offset', day, 4032, 3024,
        1, 'Benchmark', 'Earlier camera', 'kept', now()
    FROM (SELECT i, date '2004-01-01' + (i % 7000) AS day FROM generate_series(1, :rows) AS i) AS made
    """,
    """
    INSERT INTO source_files (source, source_id, version, folder, stem_key, kind, size, mtime_ns, capture_local,
        capture_offset_minutes, capture_provenance, partition_date, state, media_file_id, settled_at)
    SELECT 'earlier', stored_path, size || '-1', to_char(partition_date, 'YYYY/MM/DD'), 'img_' || id, kind, size, 1,
        capture_local, capture_offset_minutes, capture_provenance, partition_date, 'kept', id, now()
    FROM media_files WHERE model = 'Earlier camera'
    """,
    """
    INSERT INTO renditions (media_file_id, plan_fingerprint, tier, generation, outcome, path, sha256, size, width,
        height, format, detail, seconds, run_id)
    SELECT m.id, p.fingerprint, 'benchmark', 1, 'made', to_char(m.partition_date, 'YYYY/MM/DD') || '/IMG_' || m.id ||
        '.r.jpg', encode(sha256((m.id || 'made')::bytea), 'hex'), 1500000, 4032, 3024, 'jpeg', 'JPEG', 0.3, 'earlier'
    FROM media_files m JOIN jsonb_to_recordset(CAST(:plans AS jsonb)) AS p (fingerprint text, first date, last date)
        ON m.partition_date BETWEEN p.first AND p.last
    WHERE m.model = 'Earlier camera'
    """,
    """
    UPDATE media_files m SET plan_fingerprint = r.plan_fingerprint, rendition_id = r.id
    FROM renditions r WHERE r.media_file_id = m.id AND r.run_id = 'earlier'
    """,
    """
    INSERT INTO bundles (lead_media_file_id, kind, partition_date)
    SELECT id, 'single', partition_date FROM media_files WHERE model = 'Earlier camera'
    """,
    """
    INSERT INTO bundle_members (bundle_id, media_file_id, role, file_name, name_key, partition_date, library_path,
        library_target)
    SELECT b.id, m.id, 'lead', 'IMG_' || m.id || '.jpg', 'img_' || m.id || '.jpg', m.partition_date,
        m.stored_path, 'originals/' || m.stored_path
    FROM bundles b JOIN media_files m ON m.id = b.lead_media_file_id WHERE m.model = 'Earlier camera'
    """,
    "INSERT INTO batches (destination, run_id) VALUES ('archive', 'earlier')",
    """
    INSERT INTO deliveries (destination, bundle_member_id, role, batch_id, sha256, size, remote_path, state,
        partition_date, evidence, evidence_at)
    SELECT 'archive', b.id, delivered, (SELECT id FROM batches WHERE run_id = 'earlier'),
        CASE delivered WHEN 'original' THEN m.sha256 ELSE r.sha256 END,
        CASE delivered WHEN 'original' THEN m.size ELSE r.size END,
        delivered || 's/' || to_char(b.partition_date, 'YYYY/MM/DD') || '/' || b.file_name, 'verified',
        b.partition_date, CAST('{"read_back": true}' AS jsonb), now()
    FROM bundle_members b JOIN media_files m ON m.id = b.media_file_id JOIN renditions r ON r.id = m.rendition_id
        CROSS JOIN unnest(ARRAY['original', 'rendition']) AS delivered
    WHERE m.model = 'Earlier camera'
    """,
    """
    INSERT INTO pipeline_logs (run_id, stage, event, media_file_id)
    SELECT 'earlier', event, event, m.id FROM media_files m
        CROSS JOIN unnest(ARRAY['kept', 'bundled', 'made', 'staged', 'uploaded', 'verified', 'sorted']) AS event
    WHERE m.model = 'Earlier camera'
    """,
)

# What ticks have recorded becomes what runs would have made of it, without reading a file.
_SETTLE = (
    """
    INSERT INTO media_files (sha256, size, kind, format, mime, stored_root, stored_path, capture_local,
        capture_offset_minutes, capture_provenance, partition_date, model, state, deduplicated_at, plan_fingerprint)
    SELECT encode(sha256(s.id::text::bytea), 'hex'), s.size, s.kind, 'jpeg', 'image/jpeg', 'originals', s.source_id,
        s.capture_local, s.capture_offset_minutes, s.capture_provenance, s.partition_date, 'of ' || s.id, 'kept', now(),
        (SELECT p.fingerprint FROM jsonb_to_recordset(CAST(:plans AS jsonb)) AS p (fingerprint text, first date,
            last date) WHERE s.partition_date BETWEEN p.first AND p.last)
    FROM source_files s WHERE s.state = 'pending'
    """,
    """
    UPDATE source_files s SET state = 'kept', media_file_id = m.id, settled_at = now()
    FROM media_files m WHERE m.model = 'of ' || s.id AND s.state = 'pending'
    """,
)


def fill(home: Path, rows: int) -> None:
    """Writes that many settled files into a home's catalog, which is made at need."""
    _elsewhere(home, "fill", rows)


def _elsewhere(home: Path, what: str, rows: int) -> None:
    subprocess.run(
        [sys.executable, "-m", "benchmarks.database", what, str(rows)],
        env=environment_of(home),
        cwd=CHECKOUT,
        check=True,
    )


def execute_fill(platform: Any, rows: int) -> None:
    """Does what `fill` says in a home that is open."""
    _execute(platform, _STATEMENTS, rows)


def settle_pending(platform: Any) -> None:
    """Makes every observation that waits one that is stored, decided and of no more interest to any stage."""
    _execute(platform, _SETTLE, 0)


def _execute(platform: Any, statements: tuple[str, ...], rows: int) -> None:
    from sqlalchemy import text

    parameters = {"rows": rows, "plans": json.dumps(_plans(platform))}
    with platform.engine.begin() as connection:
        for statement in statements:
            used = {name: value for name, value in parameters.items() if f":{name}" in statement}
            connection.execute(text(statement), used)
    with platform.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _plans(platform: Any) -> list[dict[str, str]]:
    from pipeline.compress import tier_dates

    return [
        {
            "fingerprint": one.fingerprint,
            "first": max(one.first.isoformat(), "0001-01-01"),
            "last": one.last.isoformat(),
        }
        for one in tier_dates(platform.tiers, platform.today)
    ]


def _main(what: str, rows: str) -> None:
    from mediapipe_assets.platform import open_platform
    from resources.settings import home_folder, load_settings
    from resources.settings_file import record_first_start

    home = home_folder()
    settings = load_settings(home)
    record_first_start(home, settings.timezone, settings.start_date)
    with open_platform(home, prepare=True) as platform:
        if what == "fill" and int(rows):
            execute_fill(platform, int(rows))


if __name__ == "__main__":
    _main(*sys.argv[1:3])
