"""Originals that no longer stand where they stood

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "media_files", sa.Column("missing_since", sa.DateTime(timezone=True), nullable=True), schema="mediapipe"
    )
    # A path of a source may have held several contents, one after the other; a path of ours holds one for ever.
    op.drop_constraint("uq_media_files_stored_root_stored_path", "media_files", type_="unique", schema="mediapipe")
    op.create_index(
        "uq_media_files_stored_path",
        "media_files",
        ["stored_path"],
        unique=True,
        schema="mediapipe",
        postgresql_where=sa.text("stored_root = 'originals'"),
    )
    op.create_index(
        "ix_media_files_left_in_place",
        "media_files",
        ["stored_root", "stored_path"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("stored_root <> 'originals'"),
    )
    op.create_index(
        "ix_media_files_missing",
        "media_files",
        ["partition_date"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("missing_since IS NOT NULL"),
    )
    op.create_index(
        "ix_bundle_members_to_show_anew",
        "bundle_members",
        ["partition_date", "id"],
        unique=False,
        schema="mediapipe",
        postgresql_where=sa.text("library_path IS NOT NULL AND library_target IS NULL"),
    )
    # What was left in its source and was seen to go before there was a column to say so.
    op.execute(
        """
        UPDATE mediapipe.media_files m SET missing_since = coalesce(
            (SELECT max(s.gone_at) FROM mediapipe.source_files s WHERE s.media_file_id = m.id), now())
        WHERE m.stored_root LIKE 'source:%' AND NOT EXISTS (SELECT 1 FROM mediapipe.source_files s
            WHERE s.media_file_id = m.id AND s.gone_at IS NULL AND m.stored_root = 'source:' || s.source
            AND m.stored_path = s.source_id)
        """
    )
