"""Findings of the checks that look at the disks stay until they are resolved

Revision: 0004, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "check_findings",
        sa.Column("check_name", sa.Text(), nullable=False),
        sa.Column("media_file_id", sa.BigInteger(), nullable=False),
        sa.Column("partition_date", sa.Date(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["media_file_id"], ["mediapipe.media_files.id"], name=op.f("fk_check_findings_media_file_id")
        ),
        sa.PrimaryKeyConstraint("check_name", "media_file_id", name=op.f("pk_check_findings")),
        schema="mediapipe",
    )
    op.create_index(
        "ix_check_findings_media_file_id", "check_findings", ["media_file_id"], unique=False, schema="mediapipe"
    )
    # Empty as long as all is well: a verified delivery whose evidence is of other bytes.
    op.create_index(
        "ix_deliveries_other_evidence",
        "deliveries",
        ["destination"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("state = 'verified' AND (evidence ->> 'sha256') IS DISTINCT FROM sha256"),
    )
