"""Until when an iCloud account that is full is sent nothing

Revision: 0008, after 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "icloud_accounts", sa.Column("full_until", sa.DateTime(timezone=True), nullable=True), schema="mediapipe"
    )
    op.add_column(
        "icloud_accounts", sa.Column("full_count", sa.Integer(), server_default="0", nullable=False), schema="mediapipe"
    )
