"""`up`, `down`, `env`: the long-lived side of the platform.

Belongs here: the words of these commands. Does not belong here: the processes (`services.up`), or
the database server (`resources.postgres`).
"""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from mediapipe_assets.cli import OK, say


@click.command()
@click.option(
    "--source",
    "source_folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A folder of photos to watch; remembered in mediapipe.toml.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the web UI. Default: web.port of the settings.")
def up(source_folders: tuple[Path, ...], port: int | None) -> int:
    """Start PostgreSQL, the code server, the daemon, the web UI and the bot, and keep them running until Ctrl-C."""
    from mediapipe_assets.platform import open_platform
    from resources.folder import list_names
    from resources.settings import home_folder, load_settings
    from resources.settings_file import add_source, record_first_start
    from services import up as service

    home = home_folder()
    for folder in source_folders:
        list_names(folder.expanduser())
        add_source(home, folder.expanduser().absolute())
    settings = load_settings(home)
    record_first_start(home, settings.timezone, settings.start_date)
    if not settings.sources:
        say("No folder is watched yet. Say which: mediapipe-assets up --source DIR")
    with open_platform(home, prepare=True):
        pass  # the schema and the roots are ready before anything else starts
    url = settings.database_url.get_secret_value() if settings.database_url else None
    return service.up(
        home,
        database_url=url,
        host=settings.web.host,
        port=port or settings.web.port,
        with_bot=settings.tells_somebody,
        out=say,
    )


@click.command()
def down() -> int:
    """End what `up` or an embedded database left running."""
    from resources.settings import home_folder
    from services import up as service

    for line in service.down(home_folder()) or ["Nothing was running."]:
        say(line)
    return OK


@click.command()
def env() -> int:
    """Print DAGSTER_HOME and the rest, for: eval $(mediapipe-assets env)."""
    from mediapipe_assets.platform import open_platform
    from resources.postgres import EmbeddedPostgres
    from resources.postgres_access import normalise_url
    from resources.settings import home_folder, load_settings
    from services import up as service
    from services.running import is_up

    home = home_folder()
    settings = load_settings(home)
    with open_platform(home, prepare=True):
        pass
    if settings.database_url is None:
        url = EmbeddedPostgres(home).hold()
    else:
        url = normalise_url(settings.database_url.get_secret_value())
    service.prepare_dagster_home(home)
    if (running := is_up(home)) is not None:
        say(f"`up` is running at {running.url}: a `dagster dev` beside it would be a second daemon.")
    for name, value in service.dagster_environment(home, url).items():
        click.echo(f"export {name}={shlex.quote(value)};")
    return OK
