"""Runs a program of Dagster's as `python -m` would, but with secrets kept out of its log.

Belongs here: what each of Dagster's own programs needs before it starts. Does not belong here: which programs there
are (`up`).
"""

from __future__ import annotations

import runpy
import sys

from resources import redaction
from resources.settings import SettingsError, load_settings


def _run(module: str) -> None:
    redaction.install()
    try:
        load_settings()
    except SettingsError as error:
        # It needs none of them, and shows the person what the code server says about it.
        sys.stderr.write(f"{redaction.redact(str(error))}\n")
    del sys.argv[0]  # the program's own name is first, as it would be without us
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run(sys.argv[1])
