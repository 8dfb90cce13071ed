"""Sidecars of iCloud photos, and files that are found by Apple's checksum

Revision: 0007, after 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "icloud_records", sa.Column("sidecar_due", sa.DateTime(timezone=True), nullable=True), schema="mediapipe"
    )
    op.add_column("icloud_records", sa.Column("sidecar_day", sa.Date(), nullable=True), schema="mediapipe")
    op.create_check_constraint(
        op.f("ck_icloud_records_sidecar_day"),
        "icloud_records",
        "sidecar_due IS NULL OR sidecar_day IS NOT NULL",
        schema="mediapipe",
    )
    op.execute(
        "UPDATE mediapipe.icloud_records r SET sidecar_due = now(), sidecar_day = s.partition_date "
        "FROM mediapipe.source_files s WHERE r.kind = 'asset' AND r.state IN ('live', 'hidden') "
        "AND s.source = r.source AND s.folder = r.name AND s.role = 'lead' AND s.gone_at IS NULL"
    )
    op.create_index(
        "ix_icloud_records_sidecar_due",
        "icloud_records",
        ["sidecar_day", "id"],
        schema="mediapipe",
        postgresql_where=sa.text("sidecar_due IS NOT NULL"),
    )
    op.create_index(
        "ix_icloud_records_album",
        "icloud_records",
        ["source", sa.text("(fields ->> 'album')")],
        schema="mediapipe",
        postgresql_where=sa.text("kind = 'relation'"),
    )
    op.create_index(
        "ix_source_files_apple_checksum",
        "source_files",
        ["version"],
        schema="mediapipe",
        postgresql_where=sa.text("role IS NOT NULL"),
    )
