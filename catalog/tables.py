"""The catalog's tables, as the newest migration leaves them.

Belongs here: names, types, keys, constraints and the indexes that the queries use. A test holds
these definitions against the migrated database. Does not belong here: queries, or rows.

Event times are `timestamptz`; the capture time is a local timestamp beside an offset that may be
unknown; sizes are bytes; paths are relative to a named root.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "mediapipe"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    },
)


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _when(name: str, *, required: bool = True) -> Column[Any]:
    default = func.now() if required else None
    return Column(name, DateTime(timezone=True), nullable=not required, server_default=default)


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


system_config = Table(
    "system_config",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", JSONB, nullable=False),
    _when("updated_at"),
)

roots = Table(
    "roots",
    metadata,
    Column("name", Text, primary_key=True),
    Column("marker_id", Text, nullable=False, unique=True),
    _when("created_at"),
)

sources = Table(
    "sources",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("file_count", BigInteger, nullable=False, server_default="0"),
    _when("listed_at", required=False),
    _when("away_since", required=False),
    _when("created_at"),
)

leases = Table(
    "leases",
    metadata,
    _id(),
    Column("run_id", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    _when("started_at"),
    _when("ended_at", required=False),
    Index("ix_leases_open", "run_id", postgresql_where=text("ended_at IS NULL")),
)

media_files = Table(
    "media_files",
    metadata,
    _id(),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("apple_checksum", Text),
    Column("payload_hash", Text),
    Column("phash", LargeBinary),
    Column("size", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("mime", Text, nullable=False),
    Column("stored_root", Text, nullable=False),
    Column("stored_path", Text, nullable=False),
    Column("thumbnail_path", Text),
    Column("capture_local", DateTime(timezone=False), nullable=False),
    Column("capture_offset_minutes", SmallInteger),
    Column("capture_provenance", Text, nullable=False),
    Column("capture_flag", Text),
    Column("partition_date", Date, nullable=False),
    Column("width", Integer),
    Column("height", Integer),
    Column("orientation", SmallInteger),
    Column("duration_seconds", Float),
    Column("make", Text),
    Column("model", Text),
    Column("content_identifier", Text),
    Column("image_unique_id", Text),
    Column("subsec", Text),
    Column("has_gps", Boolean, nullable=False, server_default="false"),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    _when("missing_since", required=False),
    _when("acknowledged_at", required=False),
    _when("deduplicated_at", required=False),
    Column("plan_fingerprint", String(12)),
    Column("rendition_id", BigInteger, ForeignKey(f"{SCHEMA}.renditions.id", use_alter=True)),
    _when("created_at"),
    _one_of("kind", "photo", "raw", "video", "sidecar"),
    _one_of("state", "kept", "damaged"),
    CheckConstraint("size >= 0", name="size"),
    CheckConstraint("state <> 'damaged' OR reason IS NOT NULL", name="damaged_has_reason"),
    CheckConstraint("phash IS NULL OR octet_length(phash) = 32", name="phash_length"),
    # A path of a source may hold several contents, one after the other; a path of ours holds one for ever.
    Index("uq_media_files_stored_path", "stored_path", unique=True, postgresql_where=text("stored_root = 'originals'")),
    Index(
        "ix_media_files_left_in_place",
        "stored_root",
        "stored_path",
        postgresql_where=text("stored_root <> 'originals'"),
    ),
    Index("ix_media_files_missing", "partition_date", postgresql_where=text("missing_since IS NOT NULL")),
    Index("ix_media_files_partition_date", "partition_date", "id"),
    Index("ix_media_files_to_deduplicate", "partition_date", "id", postgresql_where=text("deduplicated_at IS NULL")),
    Index("ix_media_files_to_compress", "partition_date", "id", postgresql_where=text("plan_fingerprint IS NULL")),
    Index("ix_media_files_plan_fingerprint", "plan_fingerprint", "partition_date", "id"),
    Index("ix_media_files_size", "size"),
    Index("ix_media_files_damaged", "partition_date", postgresql_where=text("state = 'damaged'")),
    Index(
        "ix_media_files_content_identifier",
        "content_identifier",
        postgresql_where=text("content_identifier IS NOT NULL"),
    ),
)

source_files = Table(
    "source_files",
    metadata,
    _id(),
    Column("source", Text, ForeignKey(f"{SCHEMA}.sources.name"), nullable=False),
    Column("source_id", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("stem_key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    # What it is to its bundle, where the source itself says so; a folder's files are told apart by what they hold.
    Column("role", Text),
    # Where the same bytes lie on this machine already, so that they need not be downloaded.
    Column("local_path", Text),
    Column("capture_local", DateTime(timezone=False), nullable=False),
    Column("capture_offset_minutes", SmallInteger),
    Column("capture_provenance", Text, nullable=False),
    Column("capture_flag", Text),
    Column("partition_date", Date, nullable=False),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("reason", Text),
    Column("media_file_id", BigInteger, ForeignKey(f"{SCHEMA}.media_files.id")),
    _when("settled_at", required=False),
    _when("acknowledged_at", required=False),
    _when("first_seen_at"),
    _when("gone_at", required=False),
    UniqueConstraint("source", "source_id", "version"),
    _one_of("kind", "photo", "raw", "video", "sidecar"),
    _one_of("state", "pending", "failed", "kept", "duplicate", "renamed", "rejected", "superseded"),
    _one_of("role", "lead", "live_video", "raw", "edit", "sidecar"),
    CheckConstraint(
        "(state IN ('kept', 'duplicate', 'renamed')) = (media_file_id IS NOT NULL)", name="settled_has_content"
    ),
    CheckConstraint("state NOT IN ('failed', 'rejected') OR reason IS NOT NULL", name="reason"),
    Index(
        "ix_source_files_pending",
        "partition_date",
        "id",
        postgresql_where=text("state IN ('pending', 'failed')"),
    ),
    Index("ix_source_files_rejected", "partition_date", "id", postgresql_where=text("state = 'rejected'")),
    Index("ix_source_files_partition_date", "partition_date", "id"),
    Index("ix_source_files_siblings", "source", "folder", "stem_key"),
    Index("ix_source_files_media_file_id", "media_file_id"),
    # Files of iCloud alone have a role, and their version is Apple's checksum.
    Index("ix_source_files_apple_checksum", "version", postgresql_where=text("role IS NOT NULL")),
    Index(
        "uq_source_files_one_kept",
        "media_file_id",
        unique=True,
        postgresql_where=text("state = 'kept'"),
    ),
)

work = Table(
    "work",
    metadata,
    Column("stage", Text, primary_key=True),
    Column("row_id", BigInteger, primary_key=True),
    Column("lease_id", BigInteger, ForeignKey(f"{SCHEMA}.leases.id")),
    Column("partition_date", Date, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _when("not_before", required=False),
    Column("error", Text),
    _when("changed_at"),
    Index("ix_work_lease_id", "lease_id", postgresql_where=text("lease_id IS NOT NULL")),
    Index("ix_work_failed", "stage", "partition_date", postgresql_where=text("error IS NOT NULL")),
)

bundles = Table(
    "bundles",
    metadata,
    _id(),
    Column("lead_media_file_id", BigInteger, ForeignKey(f"{SCHEMA}.media_files.id"), nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("name_suffix", Text, nullable=False, server_default=""),
    Column("partition_date", Date, nullable=False),
    _when("created_at"),
    _one_of("kind", "single", "live_photo", "raw_jpeg", "edited", "mixed"),
)

bundle_members = Table(
    "bundle_members",
    metadata,
    _id(),
    Column("bundle_id", BigInteger, ForeignKey(f"{SCHEMA}.bundles.id"), nullable=False),
    Column("media_file_id", BigInteger, ForeignKey(f"{SCHEMA}.media_files.id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    Column("partition_date", Date, nullable=False),
    Column("library_path", Text, unique=True),
    Column("library_target", Text),
    _when("created_at"),
    UniqueConstraint("bundle_id", "media_file_id"),
    UniqueConstraint("partition_date", "name_key"),
    _one_of("role", "lead", "live_video", "raw", "edit", "sidecar"),
    Index("ix_bundle_members_media_file_id", "media_file_id"),
    Index("ix_bundle_members_no_library_path", "partition_date", "id", postgresql_where=text("library_path IS NULL")),
    Index(
        "ix_bundle_members_to_show_anew",
        "partition_date",
        "id",
        postgresql_where=text("library_path IS NOT NULL AND library_target IS NULL"),
    ),
)

duplicate_files = Table(
    "duplicate_files",
    metadata,
    _id(),
    Column("kind", Text, nullable=False),
    Column("source_file_id", BigInteger, ForeignKey(f"{SCHEMA}.source_files.id"), unique=True),
    Column("media_file_id", BigInteger, ForeignKey(f"{SCHEMA}.media_files.id")),
    Column("kept_media_file_id", BigInteger, ForeignKey(f"{SCHEMA}.media_files.id"), nullable=False),
    Column("distance", SmallInteger),
    Column("correlation", Float),
    Column("decision", Text, nullable=False),
    Column("decided_by", Text, nullable=False),
    _when("decided_at"),
    _one_of("kind", "exact", "payload", "near"),
    _one_of("decision", "merged", "proposed", "accepted", "declined"),
    CheckConstraint("(source_file_id IS NULL) <> (media_file_id IS NULL)", name="one_subject"),
    CheckConstraint("media_file_id IS NULL OR media_file_id <> kept_media_file_id", name="never_of_itself"),
    UniqueConstraint("media_file_id", "kept_media_file_id"),
    Index("ix_duplicate_files_kept_media_file_id", "kept_media_file_id"),
)

renditions = Table(
    "renditions",
    metadata,
    _id(),
    Column("media_file_id", BigInteger, ForeignKey(f"{SCHEMA}.media_files.id"), nullable=False),
    Column("plan_fingerprint", String(12), nullable=False),
    Column("tier", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("path", Text, unique=True),
    Column("sha256", String(64)),
    Column("size", BigInteger),
    Column("width", Integer),
    Column("height", Integer),
    Column("format", Text),
    Column("quality_score", Float),
    Column("detail", Text, nullable=False),
    Column("seconds", Float, nullable=False, server_default="0"),
    Column("run_id", Text, nullable=False),
    _when("created_at"),
    _when("superseded_at", required=False),
    _when("release_after", required=False),
    Column("trash_path", Text),
    _when("retired_at", required=False),
    # Every rendition that was ever made keeps its row: by its hash it is recognised, and delivered.
    UniqueConstraint("media_file_id", "plan_fingerprint", "sha256"),
    _one_of("outcome", "made", "kept_original"),
    CheckConstraint(
        "(outcome = 'made') = (path IS NOT NULL AND sha256 IS NOT NULL AND size IS NOT NULL)", name="made_has_file"
    ),
    Index(
        "uq_renditions_kept_original",
        "media_file_id",
        "plan_fingerprint",
        unique=True,
        postgresql_where=text("outcome = 'kept_original'"),
    ),
    Index("ix_renditions_sha256", "sha256"),
    Index("ix_renditions_run_id", "run_id"),
    Index(
        "ix_renditions_superseded",
        "media_file_id",
        postgresql_where=text("superseded_at IS NOT NULL AND retired_at IS NULL"),
    ),
)

batches = Table(
    "batches",
    metadata,
    _id(),
    Column("destination", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("file_count", Integer, nullable=False, server_default="0"),
    Column("byte_count", BigInteger, nullable=False, server_default="0"),
    _when("created_at"),
    UniqueConstraint("destination", "run_id"),
)

# What a destination has yet to stage: filled when a bundle member or a new rendition appears, emptied in
# the transaction that writes the delivery, so that "what is due" never scans the library.
staging_queue = Table(
    "staging_queue",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("bundle_member_id", BigInteger, ForeignKey(f"{SCHEMA}.bundle_members.id"), primary_key=True),
    Column("partition_date", Date, nullable=False),
    _when("queued_at"),
    Index("ix_staging_queue_partition_date", "destination", "partition_date"),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    Column("destination", Text, nullable=False),
    Column("bundle_member_id", BigInteger, ForeignKey(f"{SCHEMA}.bundle_members.id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("batch_id", BigInteger, ForeignKey(f"{SCHEMA}.batches.id"), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("remote_path", Text, nullable=False),
    Column("replaces_path", Text),
    Column("replaces_sha256", String(64)),
    _when("replace_after", required=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("remote_ids", JSONB, nullable=False, server_default="{}"),
    Column("evidence", JSONB),
    _when("evidence_at", required=False),
    _when("seen_at", required=False),
    Column("partition_date", Date, nullable=False),
    _when("created_at"),
    _when("changed_at"),
    UniqueConstraint("destination", "bundle_member_id", "role"),
    UniqueConstraint("destination", "remote_path"),
    _one_of("role", "original", "rendition"),
    _one_of("state", "staged", "uploaded", "verified"),
    CheckConstraint("(state = 'verified') <= (evidence IS NOT NULL AND evidence_at IS NOT NULL)", name="evidence"),
    CheckConstraint("(replaces_path IS NULL) = (replaces_sha256 IS NULL)", name="replaces"),
    Index("ix_deliveries_bundle_member_id", "bundle_member_id"),
    Index(
        "ix_deliveries_open",
        "destination",
        "state",
        "partition_date",
        "id",
        postgresql_where=text("state <> 'verified'"),
    ),
    Index("ix_deliveries_partition_date", "destination", "partition_date", "id"),
    Index("ix_deliveries_seen", "destination", "seen_at", "id", postgresql_where=text("state = 'verified'")),
    Index(
        "ix_deliveries_replacing",
        "destination",
        "partition_date",
        "id",
        postgresql_where=text("replaces_path IS NOT NULL"),
    ),
    # What we uploaded to iCloud, or are about to: it comes back by the changes feed under this name.
    Index(
        "ix_deliveries_master",
        text("(remote_ids ->> 'master')"),
        postgresql_where=text("(remote_ids ->> 'master') IS NOT NULL"),
    ),
    Index(
        "ix_deliveries_other_evidence",
        "destination",
        postgresql_where=text("state = 'verified' AND (evidence ->> 'sha256') IS DISTINCT FROM sha256"),
    ),
)

# What does not go to a destination, and why; each member is asked about again when it has something new to stage.
left_out = Table(
    "left_out",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("bundle_member_id", BigInteger, ForeignKey(f"{SCHEMA}.bundle_members.id"), primary_key=True),
    Column("reason", Text, nullable=False),
    # Whether it stays so when the destination's settings change: a person took it away there.
    Column("for_good", Boolean, nullable=False, server_default="false"),
    Column("partition_date", Date, nullable=False),
    _when("decided_at"),
    Index("ix_left_out_bundle_member_id", "bundle_member_id"),
)

# What the checks that look at the disks found and no later look has found sound.
check_findings = Table(
    "check_findings",
    metadata,
    Column("check_name", Text, primary_key=True),
    Column("media_file_id", BigInteger, ForeignKey(f"{SCHEMA}.media_files.id"), primary_key=True),
    Column("partition_date", Date, nullable=False),
    Column("path", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _when("looked_at"),
    _when("acknowledged_at", required=False),
    Index("ix_check_findings_media_file_id", "media_file_id"),
)

pipeline_logs = Table(
    "pipeline_logs",
    metadata,
    _id(),
    _when("at"),
    Column("run_id", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("source_file_id", BigInteger, ForeignKey(f"{SCHEMA}.source_files.id")),
    Column("media_file_id", BigInteger, ForeignKey(f"{SCHEMA}.media_files.id")),
    Column("detail", Text),
    Index("ix_pipeline_logs_media_file_id", "media_file_id", "id"),
    Index("ix_pipeline_logs_source_file_id", "source_file_id", "id"),
    Index("ix_pipeline_logs_run_id", "run_id", "stage"),
)

pipeline_metrics = Table(
    "pipeline_metrics",
    metadata,
    _id(),
    _when("at"),
    Column("run_id", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("value", Float, nullable=False),
    Index("ix_pipeline_metrics_name", "name", "at"),
    Index("ix_pipeline_metrics_run_id", "run_id"),
)

# How the sign-in of one Apple account stands. No secret is here: the session lives in files of its own.
icloud_accounts = Table(
    "icloud_accounts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("needs", Text),
    Column("needs_detail", Text),
    _when("signed_in_at", required=False),
    _when("trusted_at", required=False),
    _when("code_asked_at", required=False),
    Column("code_by", Text),
    Column("code_phone", JSONB),
    _when("throttled_until", required=False),
    Column("throttled_count", Integer, nullable=False, server_default="0"),
    _when("full_until", required=False),
    Column("full_count", Integer, nullable=False, server_default="0"),
    _when("changed_at"),
    _one_of("needs", "code", "password", "unlock", "terms", "web_access", "security_key"),
    _one_of("code_by", "device", "sms"),
)

# How far the changes feed of one library was read.
icloud_libraries = Table(
    "icloud_libraries",
    metadata,
    Column("source", Text, ForeignKey(f"{SCHEMA}.sources.name"), primary_key=True),
    Column("account", Text, nullable=False),
    Column("zone", JSONB, nullable=False),
    Column("sync_token", Text),
    Column("apple_count", BigInteger),
    # When the reading from the beginning began: what was last seen before it has left iCloud meanwhile.
    _when("reading_since", required=False),
    _when("complete_at", required=False),
    _when("synced_at", required=False),
)

# What Apple's feed said, reduced to what we keep of it: halves of an asset come in any order and on any page.
icloud_records = Table(
    "icloud_records",
    metadata,
    _id(),
    Column("source", Text, ForeignKey(f"{SCHEMA}.sources.name"), nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("parent", Text),
    Column("state", Text, nullable=False),
    Column("fields", JSONB, nullable=False),
    Column("change_tag", Text),
    # Why a photo brings no file.
    Column("reason", Text),
    # Since when what its sidecar says is no longer all that iCloud says, and the day of its file; only of photos.
    _when("sidecar_due", required=False),
    Column("sidecar_day", Date),
    _when("seen_at"),
    UniqueConstraint("source", "name"),
    CheckConstraint("sidecar_due IS NULL OR sidecar_day IS NOT NULL", name="sidecar_day"),
    _one_of("kind", "master", "asset", "album", "relation"),
    _one_of("state", "live", "hidden", "deleted", "gone"),
    Index("ix_icloud_records_parent", "source", "parent"),
    Index("ix_icloud_records_live_assets", "source", postgresql_where=text("kind = 'asset' AND state = 'live'")),
    Index("ix_icloud_records_without_file", "source", postgresql_where=text("reason IS NOT NULL")),
    Index("ix_icloud_records_sidecar_due", "sidecar_day", "id", postgresql_where=text("sidecar_due IS NOT NULL")),
    Index(
        "ix_icloud_records_album", "source", text("(fields ->> 'album')"), postgresql_where=text("kind = 'relation'")
    ),
)

# A code that Apple wants, and who was asked for it. The code itself is in no table.
twofa_requests = Table(
    "twofa_requests",
    metadata,
    _id(),
    Column("account", Text, nullable=False),
    _when("asked_at"),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("state", Text, nullable=False, server_default="open"),
    Column("wrong_codes", Integer, nullable=False, server_default="0"),
    _when("ended_at", required=False),
    # The Telegram message that asks, and the update that answered: each update answers once.
    Column("message_id", BigInteger),
    Column("answered_update", BigInteger, unique=True),
    _one_of("state", "open", "accepted", "canceled", "expired", "refused"),
    CheckConstraint("(state = 'open') = (ended_at IS NULL)", name="ended"),
    Index("uq_twofa_requests_open", "account", unique=True, postgresql_where=text("state = 'open'")),
)

# What a person should be told. Written in the transaction of what it tells about; sent by the bot's process.
notifications = Table(
    "notifications",
    metadata,
    _id(),
    _when("at"),
    # What it is about, in a form that is the same each time: it is told once until it is resolved.
    Column("key", Text, nullable=False),
    # What may be told together in one message.
    Column("topic", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    # Where in the web UI more is to be seen: a path, as the address is the sender's to know.
    Column("path", Text),
    _when("routed_at", required=False),
    _when("resolved_at", required=False),
    _one_of("severity", "info", "warning", "error", "critical"),
    Index("uq_notifications_unresolved", "key", unique=True, postgresql_where=text("resolved_at IS NULL")),
    Index("ix_notifications_unrouted", "id", postgresql_where=text("routed_at IS NULL")),
)

# One row for each channel that a notification goes to.
notification_sends = Table(
    "notification_sends",
    metadata,
    _id(),
    Column("notification_id", BigInteger, ForeignKey(f"{SCHEMA}.notifications.id"), nullable=False),
    Column("channel", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="due"),
    # Not before then: the end of quiet hours, the hour of the digest, or a back-off.
    Column("due_at", DateTime(timezone=True), nullable=False),
    # Told in the daily digest.
    Column("digest", Boolean, nullable=False, server_default="false"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _when("sent_at", required=False),
    Column("remote_id", Text),
    Column("error", Text),
    UniqueConstraint("notification_id", "channel"),
    _one_of("state", "due", "sent", "given_up"),
    Index("ix_notification_sends_due", "channel", "id", postgresql_where=text("state = 'due'")),
)

# Who is alive: long-lived processes say so, and each looks after the others.
heartbeats = Table(
    "heartbeats",
    metadata,
    Column("name", Text, primary_key=True),
    _when("at"),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
)

# What lies in a phone's folder, and how far it came. A verdict is latched: a phone that is away takes nothing back.
placed_files = Table(
    "placed_files",
    metadata,
    Column("delivery_id", BigInteger, ForeignKey(f"{SCHEMA}.deliveries.id"), primary_key=True, autoincrement=False),
    Column("destination", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    # The time of its last change as it was placed, in nanoseconds: a file that was touched since is another one.
    Column("mtime_ns", BigInteger, nullable=False),
    _when("placed_at"),
    _when("looked_at", required=False),
    _when("delivered_at", required=False),
    Column("facts", JSONB),
    _when("freed_at", required=False),
    _when("confirmed_at", required=False),
    Column("confirmed_by", Text),
    # What keeps it from being delivered: edited on the phone, deleted here, touched here.
    Column("problem", Text),
    _when("emptied_at", required=False),
    CheckConstraint("delivered_at IS NULL OR facts IS NOT NULL", name="facts"),
    CheckConstraint("emptied_at IS NULL OR delivered_at IS NOT NULL", name="emptied"),
    CheckConstraint("freed_at IS NULL OR delivered_at IS NOT NULL", name="freed"),
    CheckConstraint("(confirmed_at IS NULL) = (confirmed_by IS NULL)", name="confirmed"),
    _one_of("confirmed_by", "hash", "metadata"),
    Index("ix_placed_files_in_flight", "destination", postgresql_where=text("emptied_at IS NULL")),
    Index("ix_placed_files_undelivered", "destination", "looked_at", postgresql_where=text("delivered_at IS NULL")),
)
