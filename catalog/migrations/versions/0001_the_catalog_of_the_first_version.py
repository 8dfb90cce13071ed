"""The catalog of the first version

Revision: 0001, after nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("file_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("byte_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint("destination", "run_id", name=op.f("uq_batches_destination_run_id")),
        schema="mediapipe",
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
        schema="mediapipe",
    )
    op.create_index(
        "ix_leases_open",
        "leases",
        ["run_id"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "media_files",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("apple_checksum", sa.Text(), nullable=True),
        sa.Column("payload_hash", sa.Text(), nullable=True),
        sa.Column("phash", sa.LargeBinary(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("mime", sa.Text(), nullable=False),
        sa.Column("stored_root", sa.Text(), nullable=False),
        sa.Column("stored_path", sa.Text(), nullable=False),
        sa.Column("thumbnail_path", sa.Text(), nullable=True),
        sa.Column("capture_local", sa.DateTime(), nullable=False),
        sa.Column("capture_offset_minutes", sa.SmallInteger(), nullable=True),
        sa.Column("capture_provenance", sa.Text(), nullable=False),
        sa.Column("capture_flag", sa.Text(), nullable=True),
        sa.Column("partition_date", sa.Date(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("orientation", sa.SmallInteger(), nullable=True),
        sa.Column("duration_seconds", sa.Float(), nullable=True),
        sa.Column("make", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("content_identifier", sa.Text(), nullable=True),
        sa.Column("image_unique_id", sa.Text(), nullable=True),
        sa.Column("subsec", sa.Text(), nullable=True),
        sa.Column("has_gps", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deduplicated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("plan_fingerprint", sa.String(length=12), nullable=True),
        sa.Column("rendition_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('photo', 'raw', 'video', 'sidecar')", name=op.f("ck_media_files_kind")),
        sa.CheckConstraint("state <> 'damaged' OR reason IS NOT NULL", name=op.f("ck_media_files_damaged_has_reason")),
        sa.CheckConstraint("state IN ('kept', 'damaged')", name=op.f("ck_media_files_state")),
        sa.CheckConstraint("phash IS NULL OR octet_length(phash) = 32", name=op.f("ck_media_files_phash_length")),
        sa.CheckConstraint("size >= 0", name=op.f("ck_media_files_size")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media_files")),
        sa.UniqueConstraint("sha256", name=op.f("uq_media_files_sha256")),
        sa.UniqueConstraint("stored_root", "stored_path", name=op.f("uq_media_files_stored_root_stored_path")),
        schema="mediapipe",
    )
    op.create_index(
        "ix_media_files_content_identifier",
        "media_files",
        ["content_identifier"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("content_identifier IS NOT NULL"),
    )
    op.create_index(
        "ix_media_files_damaged",
        "media_files",
        ["partition_date"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("state = 'damaged'"),
    )
    op.create_index(
        "ix_media_files_partition_date", "media_files", ["partition_date", "id"], unique=False, schema="mediapipe"
    )
    op.create_index(
        "ix_media_files_plan_fingerprint",
        "media_files",
        ["plan_fingerprint", "partition_date", "id"],
        unique=False,
        schema="mediapipe",
    )
    op.create_index("ix_media_files_size", "media_files", ["size"], unique=False, schema="mediapipe")
    op.create_index(
        "ix_media_files_to_compress",
        "media_files",
        ["partition_date", "id"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("plan_fingerprint IS NULL"),
    )
    op.create_index(
        "ix_media_files_to_deduplicate",
        "media_files",
        ["partition_date", "id"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("deduplicated_at IS NULL"),
    )
    op.create_table(
        "pipeline_metrics",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipeline_metrics")),
        schema="mediapipe",
    )
    op.create_index("ix_pipeline_metrics_name", "pipeline_metrics", ["name", "at"], unique=False, schema="mediapipe")
    op.create_index("ix_pipeline_metrics_run_id", "pipeline_metrics", ["run_id"], unique=False, schema="mediapipe")
    op.create_table(
        "roots",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("marker_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_roots")),
        sa.UniqueConstraint("marker_id", name=op.f("uq_roots_marker_id")),
        schema="mediapipe",
    )
    op.create_table(
        "sources",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("file_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("listed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("away_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sources")),
        schema="mediapipe",
    )
    op.create_table(
        "system_config",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_system_config")),
        schema="mediapipe",
    )
    op.create_table(
        "bundles",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("lead_media_file_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name_suffix", sa.Text(), server_default="", nullable=False),
        sa.Column("partition_date", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('single', 'live_photo', 'raw_jpeg', 'edited', 'mixed')", name=op.f("ck_bundles_kind")
        ),
        sa.ForeignKeyConstraint(
            ["lead_media_file_id"], ["mediapipe.media_files.id"], name=op.f("fk_bundles_lead_media_file_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bundles")),
        sa.UniqueConstraint("lead_media_file_id", name=op.f("uq_bundles_lead_media_file_id")),
        schema="mediapipe",
    )
    op.create_table(
        "renditions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("media_file_id", sa.BigInteger(), nullable=False),
        sa.Column("plan_fingerprint", sa.String(length=12), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("format", sa.Text(), nullable=True),
        sa.Column("quality_score", sa.Float(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), server_default="0", nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("release_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("trash_path", sa.Text(), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(outcome = 'made') = (path IS NOT NULL AND sha256 IS NOT NULL AND size IS NOT NULL)",
            name=op.f("ck_renditions_made_has_file"),
        ),
        sa.CheckConstraint("outcome IN ('made', 'kept_original')", name=op.f("ck_renditions_outcome")),
        sa.ForeignKeyConstraint(
            ["media_file_id"], ["mediapipe.media_files.id"], name=op.f("fk_renditions_media_file_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_renditions")),
        sa.UniqueConstraint(
            "media_file_id", "plan_fingerprint", name=op.f("uq_renditions_media_file_id_plan_fingerprint")
        ),
        sa.UniqueConstraint("path", name=op.f("uq_renditions_path")),
        schema="mediapipe",
    )
    op.create_index("ix_renditions_run_id", "renditions", ["run_id"], unique=False, schema="mediapipe")
    op.create_index("ix_renditions_sha256", "renditions", ["sha256"], unique=False, schema="mediapipe")
    op.create_index(
        "ix_renditions_superseded",
        "renditions",
        ["media_file_id"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("superseded_at IS NOT NULL AND retired_at IS NULL"),
    )
    op.create_table(
        "source_files",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("stem_key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("capture_local", sa.DateTime(), nullable=False),
        sa.Column("capture_offset_minutes", sa.SmallInteger(), nullable=True),
        sa.Column("capture_provenance", sa.Text(), nullable=False),
        sa.Column("capture_flag", sa.Text(), nullable=True),
        sa.Column("partition_date", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("media_file_id", sa.BigInteger(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('kept', 'duplicate', 'renamed')) = (media_file_id IS NOT NULL)",
            name=op.f("ck_source_files_settled_has_content"),
        ),
        sa.CheckConstraint("kind IN ('photo', 'raw', 'video', 'sidecar')", name=op.f("ck_source_files_kind")),
        sa.CheckConstraint(
            "state IN ('pending', 'failed', 'kept', 'duplicate', 'renamed', 'rejected', 'superseded')",
            name=op.f("ck_source_files_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('failed', 'rejected') OR reason IS NOT NULL", name=op.f("ck_source_files_reason")
        ),
        sa.ForeignKeyConstraint(
            ["media_file_id"], ["mediapipe.media_files.id"], name=op.f("fk_source_files_media_file_id")
        ),
        sa.ForeignKeyConstraint(["source"], ["mediapipe.sources.name"], name=op.f("fk_source_files_source")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source_files")),
        sa.UniqueConstraint("source", "source_id", "version", name=op.f("uq_source_files_source_source_id_version")),
        schema="mediapipe",
    )
    op.create_index(
        "ix_source_files_media_file_id", "source_files", ["media_file_id"], unique=False, schema="mediapipe"
    )
    op.create_index(
        "ix_source_files_partition_date", "source_files", ["partition_date", "id"], unique=False, schema="mediapipe"
    )
    op.create_index(
        "ix_source_files_pending",
        "source_files",
        ["partition_date", "id"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("state IN ('pending', 'failed')"),
    )
    op.create_index(
        "ix_source_files_rejected",
        "source_files",
        ["partition_date", "id"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("state = 'rejected'"),
    )
    op.create_index(
        "ix_source_files_siblings", "source_files", ["source", "folder", "stem_key"], unique=False, schema="mediapipe"
    )
    op.create_index(
        "uq_source_files_one_kept",
        "source_files",
        ["media_file_id"],
        unique=True,
        schema="mediapipe",
        postgresql_where=sa.text("state = 'kept'"),
    )
    op.create_table(
        "work",
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("row_id", sa.BigInteger(), nullable=False),
        sa.Column("lease_id", sa.BigInteger(), nullable=True),
        sa.Column("partition_date", sa.Date(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["lease_id"], ["mediapipe.leases.id"], name=op.f("fk_work_lease_id")),
        sa.PrimaryKeyConstraint("stage", "row_id", name=op.f("pk_work")),
        schema="mediapipe",
    )
    op.create_index(
        "ix_work_failed",
        "work",
        ["stage", "partition_date"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("error IS NOT NULL"),
    )
    op.create_index(
        "ix_work_lease_id",
        "work",
        ["lease_id"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("lease_id IS NOT NULL"),
    )
    op.create_table(
        "bundle_members",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("bundle_id", sa.BigInteger(), nullable=False),
        sa.Column("media_file_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), nullable=False),
        sa.Column("partition_date", sa.Date(), nullable=False),
        sa.Column("library_path", sa.Text(), nullable=True),
        sa.Column("library_target", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "role IN ('lead', 'live_video', 'raw', 'edit', 'sidecar')", name=op.f("ck_bundle_members_role")
        ),
        sa.ForeignKeyConstraint(["bundle_id"], ["mediapipe.bundles.id"], name=op.f("fk_bundle_members_bundle_id")),
        sa.ForeignKeyConstraint(
            ["media_file_id"], ["mediapipe.media_files.id"], name=op.f("fk_bundle_members_media_file_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bundle_members")),
        sa.UniqueConstraint("bundle_id", "media_file_id", name=op.f("uq_bundle_members_bundle_id_media_file_id")),
        sa.UniqueConstraint("library_path", name=op.f("uq_bundle_members_library_path")),
        sa.UniqueConstraint("partition_date", "name_key", name=op.f("uq_bundle_members_partition_date_name_key")),
        schema="mediapipe",
    )
    op.create_index(
        "ix_bundle_members_media_file_id", "bundle_members", ["media_file_id"], unique=False, schema="mediapipe"
    )
    op.create_index(
        "ix_bundle_members_no_library_path",
        "bundle_members",
        ["partition_date", "id"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("library_path IS NULL"),
    )
    op.create_table(
        "duplicate_files",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source_file_id", sa.BigInteger(), nullable=True),
        sa.Column("media_file_id", sa.BigInteger(), nullable=True),
        sa.Column("kept_media_file_id", sa.BigInteger(), nullable=False),
        sa.Column("distance", sa.SmallInteger(), nullable=True),
        sa.Column("correlation", sa.Float(), nullable=True),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "decision IN ('merged', 'proposed', 'accepted', 'declined')", name=op.f("ck_duplicate_files_decision")
        ),
        sa.CheckConstraint("kind IN ('exact', 'payload', 'near')", name=op.f("ck_duplicate_files_kind")),
        sa.CheckConstraint(
            "(source_file_id IS NULL) <> (media_file_id IS NULL)", name=op.f("ck_duplicate_files_one_subject")
        ),
        sa.CheckConstraint(
            "media_file_id IS NULL OR media_file_id <> kept_media_file_id",
            name=op.f("ck_duplicate_files_never_of_itself"),
        ),
        sa.ForeignKeyConstraint(
            ["kept_media_file_id"], ["mediapipe.media_files.id"], name=op.f("fk_duplicate_files_kept_media_file_id")
        ),
        sa.ForeignKeyConstraint(
            ["media_file_id"], ["mediapipe.media_files.id"], name=op.f("fk_duplicate_files_media_file_id")
        ),
        sa.ForeignKeyConstraint(
            ["source_file_id"], ["mediapipe.source_files.id"], name=op.f("fk_duplicate_files_source_file_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_duplicate_files")),
        sa.UniqueConstraint(
            "media_file_id", "kept_media_file_id", name=op.f("uq_duplicate_files_media_file_id_kept_media_file_id")
        ),
        sa.UniqueConstraint("source_file_id", name=op.f("uq_duplicate_files_source_file_id")),
        schema="mediapipe",
    )
    op.create_index(
        "ix_duplicate_files_kept_media_file_id",
        "duplicate_files",
        ["kept_media_file_id"],
        unique=False,
        schema="mediapipe",
    )
    op.create_table(
        "pipeline_logs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("source_file_id", sa.BigInteger(), nullable=True),
        sa.Column("media_file_id", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["media_file_id"], ["mediapipe.media_files.id"], name=op.f("fk_pipeline_logs_media_file_id")
        ),
        sa.ForeignKeyConstraint(
            ["source_file_id"], ["mediapipe.source_files.id"], name=op.f("fk_pipeline_logs_source_file_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipeline_logs")),
        schema="mediapipe",
    )
    op.create_index(
        "ix_pipeline_logs_media_file_id", "pipeline_logs", ["media_file_id", "id"], unique=False, schema="mediapipe"
    )
    op.create_index("ix_pipeline_logs_run_id", "pipeline_logs", ["run_id", "stage"], unique=False, schema="mediapipe")
    op.create_index(
        "ix_pipeline_logs_source_file_id", "pipeline_logs", ["source_file_id", "id"], unique=False, schema="mediapipe"
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("bundle_member_id", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("remote_path", sa.Text(), nullable=False),
        sa.Column("replaces_path", sa.Text(), nullable=True),
        sa.Column("replaces_sha256", sa.String(length=64), nullable=True),
        sa.Column("replace_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("remote_ids", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("evidence_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("partition_date", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(state = 'verified') <= (evidence IS NOT NULL AND evidence_at IS NOT NULL)",
            name=op.f("ck_deliveries_evidence"),
        ),
        sa.CheckConstraint("(replaces_path IS NULL) = (replaces_sha256 IS NULL)", name=op.f("ck_deliveries_replaces")),
        sa.CheckConstraint("role IN ('original', 'rendition')", name=op.f("ck_deliveries_role")),
        sa.CheckConstraint("state IN ('staged', 'uploaded', 'verified')", name=op.f("ck_deliveries_state")),
        sa.ForeignKeyConstraint(["batch_id"], ["mediapipe.batches.id"], name=op.f("fk_deliveries_batch_id")),
        sa.ForeignKeyConstraint(
            ["bundle_member_id"], ["mediapipe.bundle_members.id"], name=op.f("fk_deliveries_bundle_member_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "destination", "bundle_member_id", "role", name=op.f("uq_deliveries_destination_bundle_member_id_role")
        ),
        sa.UniqueConstraint("destination", "remote_path", name=op.f("uq_deliveries_destination_remote_path")),
        schema="mediapipe",
    )
    op.create_index(
        "ix_deliveries_bundle_member_id", "deliveries", ["bundle_member_id"], unique=False, schema="mediapipe"
    )
    op.create_index(
        "ix_deliveries_open",
        "deliveries",
        ["destination", "state", "partition_date", "id"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("state <> 'verified'"),
    )
    op.create_index(
        "ix_deliveries_partition_date",
        "deliveries",
        ["destination", "partition_date", "id"],
        unique=False,
        schema="mediapipe",
    )
    op.create_index(
        "ix_deliveries_replacing",
        "deliveries",
        ["destination", "partition_date", "id"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("replaces_path IS NOT NULL"),
    )
    op.create_table(
        "staging_queue",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("bundle_member_id", sa.BigInteger(), nullable=False),
        sa.Column("partition_date", sa.Date(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle_member_id"], ["mediapipe.bundle_members.id"], name=op.f("fk_staging_queue_bundle_member_id")
        ),
        sa.PrimaryKeyConstraint("destination", "bundle_member_id", name=op.f("pk_staging_queue")),
        schema="mediapipe",
    )
    op.create_index(
        "ix_staging_queue_partition_date",
        "staging_queue",
        ["destination", "partition_date"],
        unique=False,
        schema="mediapipe",
    )
    # The two tables point at each other: a file at its present rendition, a rendition at its original.
    op.create_foreign_key(
        op.f("fk_media_files_rendition_id"),
        "media_files",
        "renditions",
        ["rendition_id"],
        ["id"],
        source_schema="mediapipe",
        referent_schema="mediapipe",
    )
