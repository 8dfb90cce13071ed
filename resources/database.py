"""Which PostgreSQL a home uses, started when it is ours.

Belongs here: choosing between the embedded server and another one, for as long as somebody works.
Does not belong here: the embedded server's life cycle (`resources.postgres`), or queries (`catalog`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from resources.postgres import EmbeddedPostgres
from resources.postgres_access import normalise_url, wait_for
from resources.settings import Settings

CONNECT_SECONDS = 10.0


@contextlib.contextmanager
def database(settings: Settings) -> Iterator[str]:
    """Yields the SQLAlchemy URL of a database that answers.

    An embedded server is started at need and held by a lease until the block ends.

    Raises:
        DatabaseUnavailable: It does not answer; the message says what to do.
        HomeRefused: The embedded database cannot be started safely.
    """
    if settings.database_url is None:
        with EmbeddedPostgres(settings.home) as url:
            yield url
    else:
        url = normalise_url(settings.database_url.get_secret_value())
        wait_for(url, CONNECT_SECONDS)
        yield url
