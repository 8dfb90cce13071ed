"""Every rendition that was ever made is remembered, and when a delivery was last seen

Revision: 0003, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint(
        op.f("uq_renditions_media_file_id_plan_fingerprint"), "renditions", schema="mediapipe", type_="unique"
    )
    op.create_unique_constraint(
        op.f("uq_renditions_media_file_id_plan_fingerprint_sha256"),
        "renditions",
        ["media_file_id", "plan_fingerprint", "sha256"],
        schema="mediapipe",
    )
    op.create_index(
        "uq_renditions_kept_original",
        "renditions",
        ["media_file_id", "plan_fingerprint"],
        unique=True,
        schema="mediapipe",
        postgresql_where=sa.text("outcome = 'kept_original'"),
    )
    op.add_column("deliveries", sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True), schema="mediapipe")
    op.execute("UPDATE mediapipe.deliveries SET seen_at = evidence_at WHERE state = 'verified'")
    op.create_index(
        "ix_deliveries_seen",
        "deliveries",
        ["destination", "seen_at", "id"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("state = 'verified'"),
    )
