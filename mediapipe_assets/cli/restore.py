"""`mediapipe-assets restore`: the catalog is put back to what a dump holds.

Belongs here: when that is refused, and the words. Does not belong here: reading a dump (`resources.postgres_access`).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mediapipe_assets.cli import OK, say

if TYPE_CHECKING:
    from resources.settings import Settings


@click.command()
@click.argument("dump_file", metavar="DUMP", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--replace",
    is_flag=True,
    help="This home has a catalog already: move it aside, as a dump in backups/ and as a second database.",
)
def restore(dump_file: Path, replace: bool) -> int:
    """Put the catalog back to what DUMP holds, for instance one of the dumps in backups/.

    Photos are not touched; what came after the dump is found again by the next run.
    """
    from resources import postgres_access as access
    from resources.database import database
    from resources.settings import load_settings

    settings = load_settings()
    _refuse_in_use(settings, beside_us=False)
    with database(settings) as url:
        _refuse_in_use(settings, beside_us=True)
        access.refuse_other_dump(dump_file)
        if access.holds_a_catalog(url):
            aside = _move_aside(settings, url, dump_file, replace=replace)
            say(f"The present catalog was dumped to {aside}, and stays as the database mediapipe_replaced.")
        access.restore(url, dump_file.absolute())
    say(f"The catalog is what {dump_file} holds. Run `mediapipe-assets run`: it finds again what came later.")
    return OK


def _refuse_in_use(settings: Settings, *, beside_us: bool) -> None:
    from pipeline.failures import RefusedForSafety
    from resources.postgres import EmbeddedPostgres

    postgres = EmbeddedPostgres(settings.home)
    if settings.database_url is not None or not postgres.is_running():
        return
    others = [pid for pid in postgres.holders() if pid != os.getpid()]
    if others or not beside_us:
        who = f"process {', '.join(map(str, others))} works with it" if others else "it was left running"
        raise RefusedForSafety(
            f"The database of this home runs: {who}. Nothing was changed. End it first: mediapipe-assets down"
        )


def _move_aside(settings: Settings, url: str, dump_file: Path, *, replace: bool) -> Path:
    from pipeline.failures import RefusedForSafety
    from resources.postgres_access import dump

    if not replace:
        raise RefusedForSafety(
            f"The home {settings.home} has a catalog that is not empty, and {dump_file} would take its place. Nothing "
            "was changed. With --replace the present one is moved aside first; or choose another home."
        )
    aside = settings.home / "backups" / f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.dump"
    dump(url, aside)
    return aside
