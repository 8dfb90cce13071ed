"""Opens the catalog.

Belongs here: the engine and how its sessions are set up. Does not belong here: starting a server,
or queries.
"""

from __future__ import annotations

from sqlalchemy import Engine, create_engine

from catalog.tables import SCHEMA


def open_engine(url: str) -> Engine:
    """Returns an engine whose sessions see the catalog's tables by their bare names.

    Args:
        url: SQLAlchemy URL of a PostgreSQL database.
    """
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=4,
        hide_parameters=True,  # an error's message is logged; its values hold where photos were taken
        connect_args={
            "options": f"-csearch_path={SCHEMA} -ctimezone=UTC",
            "application_name": "mediapipe-assets",
            "connect_timeout": 10,
        },
    )
