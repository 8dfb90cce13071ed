"""What can go wrong, told apart by what follows from it, and in the person's words.

Belongs here: the exceptions that end a run, and the sentence for those that fail one file. Does not
belong here: recording a failure (`catalog.work`), or retrying it (`pipeline.stage`).
"""

from __future__ import annotations

import errno
import os
from concurrent.futures import TimeoutError as TaskTimeout

from sqlalchemy.exc import DBAPIError, OperationalError

from media.files import ContentMismatch, RootAway, SourceChanged
from media.placing import PlaceTaken
from resources.compute import WorkerDied
from resources.redaction import redact


class RunStopped(Exception):
    """The run cannot go on; what was finished stays finished, the rest waits for the next run."""


class RefusedForSafety(RunStopped):
    """Going on might cost a photo, so nothing was touched."""


class NothingToSend(Exception):
    """No file of ours holds the bytes that a destination is to get."""


TOO_SLOW = "it took too long; raise compute.task_timeout_seconds if the file is sound"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_DISK_GONE = (errno.ESTALE, errno.ENODEV, errno.ENOTCONN, errno.EROFS)


def stops_the_run(error: BaseException) -> RunStopped | None:
    """Returns the end of the run that an error means, None when it concerns one file alone."""
    from resources.pixel import PixelRefused
    from resources.syncthing import SyncthingError

    if isinstance(error, RunStopped):
        return error
    if isinstance(error, PixelRefused):
        return RefusedForSafety(str(error))
    if isinstance(error, SyncthingError):
        return RunStopped(f"{error} Nothing is lost: it goes on where it stopped.")
    if isinstance(error, RootAway):
        return RunStopped(f"{error}, then run again: it goes on where it stopped. Nothing is lost.")
    if isinstance(error, DBAPIError) and _database_is_away(error):
        return RunStopped("The database went away in the middle of the run. Nothing is lost: start it and run again.")
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return RunStopped(
            f"The disk is full{_where(error)}. Nothing is lost: make room and run again, it goes on where it stopped."
        )
    if isinstance(error, OSError) and error.errno in _DISK_GONE:
        return RunStopped(
            f"The disk{_where(error)} went away or refuses writing ({os.strerror(error.errno)}). "
            "Nothing is lost: look at the mount and run again."
        )
    return None


def _database_is_away(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    code = getattr(error.orig, "pgcode", None)
    # Without a code no server answered; the classes are: connection, resources (a full disk), shutdown.
    return isinstance(error, OperationalError) and (code is None or code.startswith(("08", "53", "57P")))


def in_words(error: BaseException) -> str:
    """Returns one sentence that says why a file failed and what to do, as text that may be stored: no secret is in it.

    It may name a file whose name is no text, which PostgreSQL refuses: and a run must not end over its own words.
    """
    return redact(_sentence(error)).encode(errors="replace").decode().replace("\0", "")


def _sentence(error: BaseException) -> str:
    from resources.icloud_download import DownloadError
    from resources.icloud_errors import ICloudError

    if isinstance(error, DownloadError | ICloudError):
        return str(error)
    if is_task_timeout(error):
        return TOO_SLOW
    if isinstance(error, WorkerDied):
        return f"the process that worked on it ended ({error}); it is tried again"
    if isinstance(error, FileNotFoundError):
        return f"the file is gone{_where(error)}"
    if isinstance(error, PermissionError):
        return f"reading or writing is not allowed{_where(error)}; check the owner and the rights"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{_where(error)}"
    if isinstance(error, SourceChanged | ContentMismatch | PlaceTaken | NothingToSend | MemoryError):
        return str(error) or "there was not enough memory for it"
    return f"{type(error).__name__}: {error}"


def is_task_timeout(error: object) -> bool:
    """Returns whether a task was ended because it took too long.

    Python has one class for that and for a read that a network mount gave up (ETIMEDOUT), which says nothing
    about the file.
    """
    return isinstance(error, TaskTimeout) and not isinstance(error.errno, int)


def _where(error: OSError) -> str:
    return f" at {error.filename}" if error.filename else ""
