"""`mediapipe-assets run`: look at the folders, run the chain over what is due, say what happened.

Belongs here: the order of these steps and the words of the report. Does not belong here: the steps
themselves (`pipeline`), or Dagster's part in it (`mediapipe_assets.cli.execute`).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mediapipe_assets.cli import FAILED_FILES, OK, SIGN_IN, say
from mediapipe_assets.cli.report import Done, print_run_report, run_report
from mediapipe_assets.cli.sample import prepare_sample

if TYPE_CHECKING:
    from catalog.work import Scope
    from resources.settings import Settings

PASSES = 4  # a late half may make another day due; more than a few rounds would be a loop


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person asked for on the command line."""

    sources: Sequence[str]
    first: date | None
    last: date | None
    destination: str | None
    dry_run: bool
    redo: str
    limit: int
    as_json: bool

    @property
    def scope(self) -> Scope:
        """The days, both ends included."""
        from catalog.work import Scope

        return Scope(self.first or date.min, self.last or date.max)

    def goes_through(self, stage: Sequence[str]) -> bool:
        """Returns whether a stage is part of the run, by the parts of its name."""
        return self.destination is None or len(stage) == 1 or stage[0] == self.destination


@click.command()
@click.option(
    "--source",
    "source_folders",
    multiple=True,
    type=click.Path(path_type=Path, readable=False),
    help="A folder of photos; may be given several times. It is remembered in mediapipe.toml and watched from then on.",
)
@click.option("--sample", is_flag=True, help="Run over a small made-up library, in a home of its own.")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="Only photos taken on this day or later.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Only photos taken on this day or earlier.")
@click.option("--destination", help="Deliver to this destination only.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; nothing is written to any folder.")
@click.option(
    "--redo",
    type=click.Choice(["none", "failed", "all"]),
    default="failed",
    show_default=True,
    help="Failures: leave them, try them again after their pause, or do everything at these dates again at once.",
)
@click.option("--limit", type=click.IntRange(min=0), default=0, help="At most so many files at each stage.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON on stdout.")
def run(
    source_folders: tuple[Path, ...],
    sample: bool,
    first: datetime | None,
    last: datetime | None,
    destination: str | None,
    dry_run: bool,
    redo: str,
    limit: int,
    as_json: bool,
) -> int:
    """Run the whole chain over your folders and say what happened.

    What is done already is passed over. It may be interrupted at any time and run again.
    """
    from resources.folder import list_names
    from resources.settings import home_folder
    from resources.settings_file import add_source, as_sources

    if first and last and last < first:
        raise click.UsageError("--to is before --from")
    if sample and source_folders:
        raise click.UsageError("--sample and --source do not go together: a try should not mix with real photos")
    if sample:
        source_folders = prepare_sample()
    home = home_folder()
    for folder in source_folders:
        list_names(folder.expanduser())
    overrides: dict[str, object] = {}
    if dry_run:  # remembered, it would be taken in by a running `up` in a moment
        names, overrides = as_sources(home, source_folders)
    else:
        names = [add_source(home, folder.expanduser().absolute()) for folder in source_folders]
    wishes = Wishes(
        sources=names,
        first=first.date() if first else None,
        last=last.date() if last else None,
        destination=destination,
        dry_run=dry_run,
        redo=redo,
        limit=limit,
        as_json=as_json,
    )
    return _run(home, wishes, overrides)


def _run(home: Path, wishes: Wishes, overrides: Mapping[str, object]) -> int:
    from mediapipe_assets.platform import open_platform
    from resources.settings import load_settings
    from resources.settings_file import record_first_start

    settings = load_settings(home, overrides=overrides)
    if not any(source.enabled for source in settings.sources.values()):
        raise click.UsageError(
            "no folder is watched yet. Say which: mediapipe-assets run --source DIR; or set an Apple ID: "
            "MEDIAPIPE_ICLOUD__APPLE_ID"
        )
    if wishes.destination is not None:
        _refuse_where_nothing_goes(settings, wishes.destination)
    if wishes.dry_run:
        with open_platform(home, overrides=overrides) as platform:
            return _dry_run(platform, wishes)
    record_first_start(home, settings.timezone, settings.start_date)
    start = time.monotonic()
    with open_platform(home, prepare=True) as platform:
        notes = _check_destinations(platform, wishes)
        if wishes.destination in settings.icloud_destinations:
            platform.icloud.room(wishes.destination).ask_at_once()
        done = _work(platform, wishes)
        done.notes += notes
        done.seconds = time.monotonic() - start
        report = run_report(platform, done)
        if wishes.as_json:
            click.echo(json.dumps(report, default=str))
        else:
            print_run_report(platform, report, done)
    if done.sign_in:
        return SIGN_IN
    return FAILED_FILES if report["failed"] else OK


def _refuse_where_nothing_goes(settings: Settings, name: str) -> None:
    """Refuses a destination that is not there, or is switched off: a run would pass it over without a word."""
    section = f"[destinations.{name}] in {settings.file}"
    if name not in settings.destinations:
        known = ", ".join(
            one if entry.enabled else f"{one} (switched off)" for one, entry in settings.destinations.items()
        )
        raise click.UsageError(
            f"there is no destination called {name}; there is: {known}. To make one, write a section {section} with "
            'kind = "archive" and its path, or kind = "icloud", and enabled = true'
        )
    if settings.destinations[name].enabled:
        return
    said = settings.masked()[f"destinations.{name}.enabled"]
    how = f"{said['name']}=true" if said["from"] == "environment" else f"enabled = true below {section}"
    raise click.UsageError(f"the destination {name} is switched off. To switch it on: {how}")


def _check_destinations(platform: Any, wishes: Wishes) -> list[str]:
    """Makes sure that the destinations of a run can be written to; returns which have to wait, in words."""
    from pipeline.failures import stops_the_run
    from resources.delivery import NotNow

    waits = []
    for name, destination in platform.destinations.items():
        if not wishes.goes_through((name, "uploaded")):
            continue
        try:
            destination.prepare()
        except NotNow as later:
            waits.append(f"{name}: {later.reason} What goes there waits.")
        except Exception as error:
            if (stop := stops_the_run(error)) is None:
                raise
            raise stop from error
    return waits


def _chosen_sources(platform: Any, wishes: Wishes) -> list[Any]:
    return [spec for name, spec in platform.sources.items() if not wishes.sources or name in wishes.sources]


def _look(platform: Any, wishes: Wishes, *, record: bool) -> list[Any]:
    """Looks at the folders, and once more at those where files are still being written."""
    from pipeline.discovery import look

    looks = []
    for spec in _chosen_sources(platform, wishes):
        found = look(platform.engine, spec, platform.date_rules(), record=record)
        if found.unsettled and record:
            say(f"{found.unsettled} files in {spec.path} were written just now; waiting {spec.settle_seconds:g} s.")
            time.sleep(spec.settle_seconds + 0.1)
            again = look(platform.engine, spec, platform.date_rules(), record=record)
            found = again if not found.new else _sum(found, again)
        looks.append(found)
    return looks


def _sum(one: Any, other: Any) -> Any:
    from dataclasses import replace

    return replace(other, new=one.new + other.new, new_bytes=one.new_bytes + other.new_bytes)


def _due(platform: Any, wishes: Wishes, *, unseen: bool = False) -> list[date]:
    days = platform.due_dates(aged=True, redo=wishes.redo, unseen=unseen)
    first, last = wishes.scope.first, wishes.scope.last
    if wishes.redo == "all" and wishes.first and wishes.last:
        # What is finished is due again only in a run that covers it, so every day between the two is asked for.
        rules = platform.date_rules()
        start, end = max(first, rules.start), min(last, rules.last)
        days = sorted({*days, *(start + timedelta(days=number) for number in range((end - start).days + 1))})
    return [day for day in days if first <= day <= last]


def _dry_run(platform: Any, wishes: Wishes) -> int:
    platform.prepare_to_look()
    problems = platform.problems()
    looks = _look(platform, wishes, record=False)
    found = sum(one.new for one in looks), sum(one.new_bytes for one in looks)
    due, lacking = _due(platform, wishes), [str(one) for one in _shortages(platform, wishes, found)]
    report = {
        "dry_run": True,
        "sources": {
            one.source: {
                "listed": one.listed,
                "new": one.new,
                "bytes": one.new_bytes,
                "gone": one.gone,
                "still_written": one.unsettled,
            }
            for one in looks
        },
        "dates_due": [day.isoformat() for day in due],
        "shortages": lacking,
        "problems": problems,
    }
    if wishes.as_json:
        click.echo(json.dumps(report))
        return OK
    for one in looks:
        say(f"{one.source}: {one.listed} files, {one.new} of them new ({one.new_bytes / 1e6:.1f} MB), {one.gone} gone")
        if one.unsettled:
            say(f"{one.source}: {one.unsettled} more are still being written.")
    say(f"{len(due)} dates known already have something to do.")
    for shortage in lacking:
        say(f"Not enough room: {shortage}")
    for problem in problems:
        say(problem)
    say("Dry run: nothing was written.")
    return OK


def _shortages(platform: Any, wishes: Wishes, unrecorded: tuple[int, int] = (0, 0)) -> list[Any]:
    from pipeline.space import estimate

    names = [query.stage for query in platform.queries(aged=True)]
    stages = [name for name in names if wishes.goes_through(name.split("/"))]
    return estimate(
        platform,
        wishes.scope,
        stages=stages,
        redo=wishes.redo,  # type: ignore[arg-type]  # click knows the choices
        limit=wishes.limit,
        unrecorded=unrecorded,
    )


def _work(platform: Any, wishes: Wishes) -> Done:
    from pipeline.failures import RefusedForSafety
    from pipeline.planning import merge_dates
    from pipeline.space import NO_ROOM

    done = Done(wishes.scope, wishes.destination)
    looks = _look(platform, wishes, record=True)
    done.still_written = sum(one.unsettled for one in looks)
    for one in looks:
        for folder, reason in one.unreadable:
            done.notes.append(f"The folder {folder} in “{one.source}” could not be read: {reason}.")
    libraries = _read_icloud(platform, wishes, done)
    if missing := _shortages(platform, wishes):
        raise RefusedForSafety(NO_ROOM + " ".join(map(str, missing)))
    days = _due(platform, wishes, unseen=True)
    if not days:
        _tell_where_room_is_lacking(platform, done)
        return done
    with _session(platform, wishes) as session:
        session.observe(looks, libraries)
        for _ in range(PASSES):
            done.run_ids += session.run_all(merge_dates(days, platform.settings.runs.merge_gap_days))
            before, days = days, _due(platform, wishes)
            if not days or days == before or wishes.limit or wishes.redo == "all":
                break
        if (reason := session.paused()) is not None:
            done.notes.append(reason)
    _tell_what_stops_icloud(platform, done)
    _tell_where_room_is_lacking(platform, done)
    return done


def _read_icloud(platform: Any, wishes: Wishes, done: Done) -> list[Any]:
    """Reads what changed in iCloud, unless only some folders were asked for; what goes wrong there stops no folder."""
    if wishes.sources or not platform.icloud.sources:
        return []
    from mediapipe_assets.cli.icloud import sync_all

    looks = sync_all(platform)
    done.notes += looks.notes
    done.sign_in = looks.exit_code() == SIGN_IN
    found = [one.found for one in looks.done]
    for one in found:
        if one.new or one.changed or one.deleted:
            say(
                f"iCloud ({one.source}) holds {one.assets} photos and films: {len(one.new)} new, {len(one.changed)} "
                f"changed, {len(one.deleted)} deleted there, which deletes nothing here."
            )
    return found


def _tell_what_stops_icloud(platform: Any, done: Done) -> None:
    """Says what Apple wanted in the middle of the downloads: only the sync before them has spoken so far."""
    from mediapipe_assets.cli.icloud import what_stops_accounts

    notes, needs = what_stops_accounts(platform)
    done.notes += [one for one in notes if one not in done.notes]
    done.sign_in = done.sign_in or needs


def _tell_where_room_is_lacking(platform: Any, done: Done) -> None:
    done.notes += [f"{name}: {words}" for name, words in platform.icloud.without_room().items()]


@contextlib.contextmanager
def _session(platform: Any, wishes: Wishes) -> Iterator[_Session]:
    session = _Session(platform, wishes)
    from mediapipe_assets.cli.progress import one_pool

    with one_pool(platform.settings):
        yield session


class _Session:
    """Dagster, loaded once for the runs of one command."""

    def __init__(self, platform: Any, wishes: Wishes) -> None:
        from services.up import dagster_environment, prepare_dagster_home

        home = platform.settings.home
        prepare_dagster_home(home)
        url = platform.engine.url.render_as_string(hide_password=False)
        os.environ.update(dagster_environment(home, url))
        import dagster as dg

        from jobs.recovery import fail_runs_without_a_lease
        from mediapipe_assets.cli.progress import TerminalPipelineResource, progress_display
        from mediapipe_assets.definitions import build_defs
        from pipeline.switches import RunPause

        self._wishes = wishes
        self._instance = dg.DagsterInstance.get()
        # Keeps connections open, as the web server does: a new one for every event takes most of a small run's time.
        self._instance.optimize_for_webserver(statement_timeout=60_000, pool_recycle=3600, max_overflow=8)
        fail_runs_without_a_lease(self._instance, platform)
        self.paused = RunPause(platform.engine, by_itself=False)
        self._display = progress_display()
        overrides = {"pipeline": TerminalPipelineResource.configure_at_launch()}
        self._definitions = build_defs(platform.settings, overrides)

    def run_all(self, scopes: Sequence[Any]) -> Iterator[str]:
        """Runs one range of days after the other until a person pauses, and yields each run's id as it ends."""
        with self._display as display:
            for number, scope in enumerate(scopes):
                if self.paused() is not None:
                    return
                display.runs(number, len(scopes))
                yield self.run(scope)
            display.runs(len(scopes), len(scopes))

    def run(self, scope: Any) -> str:
        """Runs one range of days and returns the run's id."""
        from jobs.chain import ASKED_FOR_BY, COMMAND_LINE, range_tags
        from mediapipe_assets.cli.execute import execute_chain

        wishes = self._wishes
        config = {
            "resources": {"pipeline": {"config": {"redo": wishes.redo, "limit": wishes.limit}}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        }
        return execute_chain(
            self._definitions,
            self._instance,
            tags={**range_tags(scope), ASKED_FOR_BY: COMMAND_LINE},
            run_config=config,
            selection=self._selection(),
        )

    def observe(self, looks: Sequence[Any], libraries: Sequence[Any]) -> None:
        """Shows in the UI what the folders and iCloud held, as the sensors do."""
        from sensors import folder, icloud

        for one in looks:
            if one.new or one.gone:
                self._instance.report_runless_asset_event(folder.observation(one))
        for library in libraries:
            self._instance.report_runless_asset_event(icloud.observation(library))

    def _selection(self) -> list[Any]:
        graph = self._definitions.resolve_asset_graph()
        keys = sorted(graph.executable_asset_keys)
        return [key for key in keys if self._wishes.goes_through(key.path)]
