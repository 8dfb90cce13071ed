"""A code that a person gives, what a person is told, and who is alive

Revision: 0009, after 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

SCHEMA = "mediapipe"


def upgrade() -> None:
    op.create_table(
        "twofa_requests",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("wrong_codes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("answered_update", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'accepted', 'canceled', 'expired', 'refused')", name=op.f("ck_twofa_requests_state")
        ),
        sa.CheckConstraint("(state = 'open') = (ended_at IS NULL)", name=op.f("ck_twofa_requests_ended")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_twofa_requests")),
        sa.UniqueConstraint("answered_update", name=op.f("uq_twofa_requests_answered_update")),
        schema=SCHEMA,
    )
    op.create_index(
        "uq_twofa_requests_open",
        "twofa_requests",
        ["account"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("routed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "severity IN ('info', 'warning', 'error', 'critical')", name=op.f("ck_notifications_severity")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        schema=SCHEMA,
    )
    op.create_index(
        "uq_notifications_unresolved",
        "notifications",
        ["key"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_index(
        "ix_notifications_unrouted",
        "notifications",
        ["id"],
        schema=SCHEMA,
        postgresql_where=sa.text("routed_at IS NULL"),
    )
    op.create_table(
        "notification_sends",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("notification_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="due", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("digest", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('due', 'sent', 'given_up')", name=op.f("ck_notification_sends_state")),
        sa.ForeignKeyConstraint(
            ["notification_id"], ["mediapipe.notifications.id"], name=op.f("fk_notification_sends_notification_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notification_sends")),
        sa.UniqueConstraint("notification_id", "channel", name=op.f("uq_notification_sends_notification_id_channel")),
        schema=SCHEMA,
    )
    op.create_index(
        "ix_notification_sends_due",
        "notification_sends",
        ["channel", "id"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'due'"),
    )
    op.create_table(
        "heartbeats",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_heartbeats")),
        schema=SCHEMA,
    )
