"""The command line: `mediapipe-assets`.

Belongs here: commands, and which exit code a failure means. Does not belong here: work that a
command starts; each command's module says where that is.

Exit codes: 0 ok, 1 error, 2 usage or settings, 3 finished with failed files, 4 a person must sign in,
5 refused for safety. JSON goes to stdout alone; everything else to stderr.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from pathlib import Path

import click

from resources import redaction

OK, ERROR, USAGE, FAILED_FILES, SIGN_IN, REFUSED = range(6)
INTERRUPTED = 130

# Each command's module is imported when it is called: `--help` should not wait for Dagster.
_COMMANDS = {
    "run": ("run", "Run the whole chain over your folders and say what happened."),
    "up": ("services", "Start the platform and its web UI, and keep it running."),
    "pause": ("switches", "Let nothing start by itself until `resume`."),
    "resume": ("switches", "End the pause."),
    "down": ("services", "End what `up` or an embedded database left running."),
    "env": ("services", "Print the environment for a plain `dagster dev`."),
    "status": ("report", "Say what the library holds and how far it is delivered."),
    "bot": ("telegram", "Run the Telegram bot and send alerts, in the foreground."),
    "telegram": ("telegram", "Connect the Telegram bot: find your chat."),
    "icloud": ("icloud", "Sign in to iCloud, look at the library, and say how it stands."),
    "pixel": ("pixel", "Say what reached the phone through Syncthing, and look at it."),
    "history": ("report", "Tell the story of one file."),
    "acknowledge": ("report", "Say that you have seen that a file is damaged, rejected or missing."),
    "undo": ("undo", "Bring a file back from the trash to where it stood."),
    "demo": ("demo", "Show the whole thing with a made-up iCloud, without an account."),
    "trash": ("trash", "Delete what has been in the trash long enough."),
    "restore": ("restore", "Put the catalog back to what a dump holds."),
    "notify": ("notify", "Try the channels by which you are told, and see what waits."),
    "doctor": ("doctor", "Check the installation and say what to change."),
    "config": ("config", "Show the settings and where each comes from."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"mediapipe_assets.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of all state. Default: MEDIAPIPE_HOME, else mediapipe-assets in the user's data folder.",
)
@click.version_option(package_name="mediapipe-assets")
def cli(home: Path | None) -> None:
    """Keeps every photo once, lets it shrink as it ages, delivers it, and proves that the copies are there."""
    if home is not None:
        os.environ["MEDIAPIPE_HOME"] = str(home.expanduser().absolute())


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    redaction.install()
    warnings.filterwarnings("ignore")  # what libraries tell each other is not for the person
    # As Ctrl-C: otherwise the process would end at once, and leave the database running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(_code_of())


def _code_of() -> int:
    try:
        code = cli.main(standalone_mode=False, prog_name="mediapipe-assets")
        return code if isinstance(code, int) else OK
    except click.UsageError as error:
        error.show()
        return USAGE
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("Interrupted. Nothing is lost: run it again, it goes on where it stopped.")
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return ERROR
    except Exception as error:
        code = _expected(error)
        if code is not None:
            say(f"Error: {error}")
            return code
        stop = _stopped(error)
        if stop is None:
            raise
        say(f"Error: {stop}")
        return ERROR


def _stopped(error: BaseException | None) -> Exception | None:
    """Returns what a database or a disk that went away means, in words: Dagster passes on the bare error."""
    from pipeline.failures import stops_the_run

    while error is not None:
        if (stop := stops_the_run(error)) is not None:
            return stop
        error = error.__cause__ or error.__context__
    return None


def _expected(error: Exception) -> int | None:
    """Returns the exit code of an error whose message is already in the person's words."""
    from catalog.migrate import NewerSchema
    from pipeline.failures import RefusedForSafety, RunStopped
    from resources.folder import SourceMissing
    from resources.icloud_errors import ICloudError, NeedsPerson
    from resources.postgres_access import DumpNotPossible
    from resources.postgres_home import HomeRefused
    from resources.postgres_tools import DatabaseUnavailable
    from resources.settings import SettingsError
    from services.up import Refused

    if isinstance(error, SettingsError):
        return USAGE
    if isinstance(error, RefusedForSafety | HomeRefused):
        return REFUSED
    if isinstance(error, NeedsPerson):
        return SIGN_IN
    if isinstance(
        error,
        RunStopped | SourceMissing | DatabaseUnavailable | DumpNotPossible | NewerSchema | Refused | ICloudError,
    ):
        return ERROR
    return None


def say(words: str) -> None:
    """Prints a line for the person, on stderr: stdout belongs to results."""
    click.echo(redaction.redact(words), err=True)
