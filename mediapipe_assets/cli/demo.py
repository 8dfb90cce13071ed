"""`mediapipe-assets demo --icloud`: the whole thing, without an account.

Belongs here: the order in which a person is shown things, in a home that they can throw away. Does not belong here: the
made-up iCloud (`services.icloud_standin`), or any of the work.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mediapipe_assets.cli import OK, say

if TYPE_CHECKING:
    from services.icloud_standin import Account


@click.command()
@click.option("--icloud", "with_icloud", is_flag=True, required=True, help="Show it with a made-up iCloud.")
@click.option("--up", "stay_up", is_flag=True, help="Afterwards keep it running with the web UI, until Ctrl-C.")
def demo(with_icloud: bool, stay_up: bool) -> int:
    """Show the whole thing with a made-up iCloud on this machine; no Apple account is needed or asked."""
    from services.icloud_standin import ICloudStandin
    from services.icloud_standin.demo import demo_account, time_passes

    folder = Path(tempfile.mkdtemp(prefix="mediapipe-demo-"))
    folder.chmod(0o755)  # the database server runs under an account of its own where this runs as root
    with ICloudStandin(folder / "made-up-icloud", announce=lambda line: say(f"[the made-up iPhone] {line}")) as icloud:
        account = demo_account(icloud, folder / "pictures")
        _lead_there(icloud.environment, account, folder / "home")
        say(f"A made-up iCloud runs on this machine, with an account called {account.name}. Everything is in {folder}.")
        _sign_in(account)
        _run()
        say("\nSomebody marks a photo as a favourite, deletes another, and adds one from years ago.")
        time_passes(account, folder / "pictures")
        _run()
        if stay_up:
            _stay_up()
    say(f"\nThat was it. To throw it away: rm -r {folder}")
    return OK


def _lead_there(environment: dict[str, str], account: Account, home: Path) -> None:
    """Leads every client of this process, and of those that it starts, to the made-up iCloud."""
    from services.icloud_standin.demo import PASSWORD

    foreign = [name for name in os.environ if name.startswith("MEDIAPIPE_")]
    for name in foreign:
        del os.environ[name]
    home.mkdir()
    os.environ.update(
        environment
        | {
            "MEDIAPIPE_HOME": str(home),
            "MEDIAPIPE_ICLOUD__APPLE_ID": account.name,
            "MEDIAPIPE_ICLOUD__PASSWORD": PASSWORD,
        }
    )


def _sign_in(account: Account) -> None:
    from mediapipe_assets.platform import open_platform
    from pipeline.icloud_account import ask_for_code, enter_code

    with open_platform(prepare=True) as platform:
        (who,) = platform.icloud.accounts.values()
        say("\n$ mediapipe-assets icloud login")
        if ask_for_code(platform.engine, who) is None:
            return
        for _ in range(3):
            typed = click.prompt("The code", err=True) if sys.stdin.isatty() else str(account.code)
            if enter_code(platform.engine, who, typed.strip()):
                say("Signed in; Apple trusts this machine from now on.")
                return
            say("Apple did not take this code.")
    raise click.ClickException("Nobody signed in, so there is nothing to show.")


def _run() -> None:
    from mediapipe_assets.cli.run import run

    say("\n$ mediapipe-assets run")
    run.main([], standalone_mode=False)


def _stay_up() -> None:
    from mediapipe_assets.cli.services import up

    say("\n$ mediapipe-assets up")
    up.main([], standalone_mode=False)
