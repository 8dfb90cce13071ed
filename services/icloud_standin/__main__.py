"""The stand-in as a program: `python -m services.icloud_standin --folder DIR --port-file FILE [--demo]`.

Belongs here: starting and ending it, and what it tells. Does not belong here: what it answers.

It prints the variables that lead a client here, for a shell to take over, and the codes that would be sent to a person
to standard error. It ends with SIGTERM or Ctrl-C.
"""

from __future__ import annotations

import shlex
import signal
import threading
from pathlib import Path

import click

from services.icloud_standin.demo import NAME, PASSWORD, demo_account
from services.icloud_standin.standin import ICloudStandin


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), required=True, help="For certificates, pictures, uploads.")
@click.option("--port-file", type=click.Path(path_type=Path), required=True, help="Where its port is written to.")
@click.option("--demo", is_flag=True, help="With an account that has a small library.")
def main(folder: Path, port_file: Path, demo: bool) -> None:
    """Serves a fake iCloud until it is told to end."""
    ended = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda number, frame: ended.set())
    with ICloudStandin(folder, announce=lambda line: click.echo(line, err=True)) as icloud:
        if demo:
            demo_account(icloud, folder / "pictures")
            click.echo(f"The account is {NAME}, its password {PASSWORD}.", err=True)
        for name, value in icloud.environment.items():
            click.echo(f"export {name}={shlex.quote(value)}")
        # Written last and at once, so that whoever waits for it finds everything ready.
        part = port_file.with_name(f"{port_file.name}.part")
        part.write_text(f"{icloud.port}\n")
        part.replace(port_file)
        ended.wait()


if __name__ == "__main__":
    main()
