"""What lies in a phone's folder, and how far it came

Revision: 0010, after 0009.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SCHEMA = "mediapipe"


def upgrade() -> None:
    op.create_table(
        "placed_files",
        sa.Column("delivery_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("facts", JSONB(), nullable=True),
        sa.Column("freed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_by", sa.Text(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("emptied_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("delivered_at IS NULL OR facts IS NOT NULL", name=op.f("ck_placed_files_facts")),
        sa.CheckConstraint("emptied_at IS NULL OR delivered_at IS NOT NULL", name=op.f("ck_placed_files_emptied")),
        sa.CheckConstraint("freed_at IS NULL OR delivered_at IS NOT NULL", name=op.f("ck_placed_files_freed")),
        sa.CheckConstraint("(confirmed_at IS NULL) = (confirmed_by IS NULL)", name=op.f("ck_placed_files_confirmed")),
        sa.CheckConstraint("confirmed_by IN ('hash', 'metadata')", name=op.f("ck_placed_files_confirmed_by")),
        sa.ForeignKeyConstraint(["delivery_id"], ["mediapipe.deliveries.id"], name=op.f("fk_placed_files_delivery_id")),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_placed_files")),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_placed_files_in_flight",
        "placed_files",
        ["destination"],
        schema=SCHEMA,
        postgresql_where=sa.text("emptied_at IS NULL"),
    )
    op.create_index(
        "ix_placed_files_undelivered",
        "placed_files",
        ["destination", "looked_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
