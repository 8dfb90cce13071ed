"""iCloud as a destination: what is left out of it and why, and uploads by the name under which they come back

Revision: 0006, after 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "left_out",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("bundle_member_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("for_good", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("partition_date", sa.Date(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle_member_id"], ["mediapipe.bundle_members.id"], name=op.f("fk_left_out_bundle_member_id")
        ),
        sa.PrimaryKeyConstraint("destination", "bundle_member_id", name=op.f("pk_left_out")),
        schema="mediapipe",
    )
    op.create_index("ix_left_out_bundle_member_id", "left_out", ["bundle_member_id"], schema="mediapipe")
    op.create_index(
        "ix_deliveries_master",
        "deliveries",
        [sa.text("(remote_ids ->> 'master')")],
        schema="mediapipe",
        postgresql_where=sa.text("(remote_ids ->> 'master') IS NOT NULL"),
    )
