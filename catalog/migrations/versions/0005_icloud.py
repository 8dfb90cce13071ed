"""iCloud: accounts, libraries, and the records of the changes feed

Revision: 0005, after 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "icloud_accounts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("needs", sa.Text(), nullable=True),
        sa.Column("needs_detail", sa.Text(), nullable=True),
        sa.Column("signed_in_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("trusted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("code_asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("code_by", sa.Text(), nullable=True),
        sa.Column("code_phone", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("throttled_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("throttled_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("code_by IN ('device', 'sms')", name=op.f("ck_icloud_accounts_code_by")),
        sa.CheckConstraint(
            "needs IN ('code', 'password', 'unlock', 'terms', 'web_access', 'security_key')",
            name=op.f("ck_icloud_accounts_needs"),
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_icloud_accounts")),
        schema="mediapipe",
    )
    op.create_table(
        "icloud_libraries",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("zone", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("sync_token", sa.Text(), nullable=True),
        sa.Column("apple_count", sa.BigInteger(), nullable=True),
        sa.Column("reading_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("complete_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["source"], ["mediapipe.sources.name"], name=op.f("fk_icloud_libraries_source")),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_icloud_libraries")),
        schema="mediapipe",
    )
    op.create_table(
        "icloud_records",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("fields", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("change_tag", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('master', 'asset', 'album', 'relation')", name=op.f("ck_icloud_records_kind")),
        sa.CheckConstraint("state IN ('live', 'hidden', 'deleted', 'gone')", name=op.f("ck_icloud_records_state")),
        sa.ForeignKeyConstraint(["source"], ["mediapipe.sources.name"], name=op.f("fk_icloud_records_source")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_icloud_records")),
        sa.UniqueConstraint("source", "name", name=op.f("uq_icloud_records_source_name")),
        schema="mediapipe",
    )
    op.create_index(
        "ix_icloud_records_live_assets",
        "icloud_records",
        ["source"],
        schema="mediapipe",
        postgresql_where=sa.text("kind = 'asset' AND state = 'live'"),
    )
    op.create_index("ix_icloud_records_parent", "icloud_records", ["source", "parent"], schema="mediapipe")
    op.create_index(
        "ix_icloud_records_without_file",
        "icloud_records",
        ["source"],
        schema="mediapipe",
        postgresql_where=sa.text("reason IS NOT NULL"),
    )
    op.add_column("source_files", sa.Column("role", sa.Text(), nullable=True), schema="mediapipe")
    op.add_column("source_files", sa.Column("local_path", sa.Text(), nullable=True), schema="mediapipe")
    op.create_check_constraint(
        op.f("ck_source_files_role"),
        "source_files",
        "role IN ('lead', 'live_video', 'raw', 'edit', 'sidecar')",
        schema="mediapipe",
    )
