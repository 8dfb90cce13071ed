"""Release: renditions that a newer one has replaced leave their place for the trash, each on proof.

Belongs here: the stage `released_media`, and which copies it may name. Does not belong here: what counts
as a copy (`pipeline.proofs`), or the move (`pipeline.trash`). Originals are never released in this version.

Three records, as for a remote effect: the place in the trash is written down first, then the file is moved,
then it is recorded as retired. A run that was killed between any two of them finds the file by the first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from catalog import renditions
from catalog.logs import log_event
from catalog.paths import from_text, to_text
from catalog.renditions import Superseded
from catalog.work import WorkQuery
from media.files import hash_file, place_in_trash
from pipeline import layout
from pipeline.destination import Destination
from pipeline.proofs import HOURS_BETWEEN_QUESTIONS, Candidate, Doomed, NotProven, prove
from pipeline.run import Run
from pipeline.stage import Outcome, Stage
from pipeline.trash import move_to_trash
from resources.compute import Task
from resources.delivery import Intent

SLOWEST_READ = 2_000_000  # bytes a second, from a mount over wireless


class ReleaseStage(Stage[Superseded]):
    """Moves superseded renditions to the trash once enough copies of exactly their bytes are proven."""

    name = renditions.RELEASED

    def __init__(self, roots: Mapping[str, Path], destinations: Mapping[str, Destination], copies_needed: int) -> None:
        """Sets the stage up.

        Args:
            roots: The roots that are written to, by name.
            destinations: Who may hold copies, by name.
            copies_needed: How many must be proven.
        """
        self._renditions = roots[layout.RENDITIONS]
        self._trash = roots[layout.TRASH]
        self._destinations = destinations
        self._copies_needed = copies_needed

    def query(self, run: Run) -> WorkQuery:
        """Returns the superseded renditions whose time to be asked about has come."""
        return renditions.to_release

    def load(self, connection: Connection, ids: Sequence[int], run: Run) -> Sequence[Superseded]:
        """Reads the renditions."""
        return renditions.load_superseded(connection, ids)

    def row_id(self, item: Superseded) -> int:
        """Returns the rendition's id."""
        return item.id

    def label(self, item: Superseded) -> str:
        """Returns its path."""
        return item.path

    def task(self, item: Superseded, run: Run) -> Task | None:
        """Writes down where the file goes, and has it proven and moved by a worker."""
        if self._on_its_way(item):
            return None
        path = self._renditions / from_text(item.path)
        doomed = Doomed(path, str(path), item.sha256, item.size, "rendition")
        candidates = tuple(self._candidates(item, run))
        place = self._place(item, path, run)
        here = any(one.witness.works_here for one in candidates)
        return Task(prove_and_move, (doomed, candidates, self._copies_needed, self._trash, place), here=here)

    def _place(self, item: Superseded, path: Path, run: Run) -> str:
        """Returns where the file goes below the trash: where it was written down to go, by this run or one before.

        It is read anew at each try: a worker that died may have moved the file there. Only while the file stands in
        its place and something else where it was to go, another place is chosen.
        """
        with run.engine.begin() as connection:
            recorded = renditions.release_place(connection, item.id)
            if recorded is not None:
                place = from_text(recorded)
                if not (os.path.lexists(path) and os.path.lexists(self._trash / place)):
                    return place
            free = place_in_trash(self._trash, f"{layout.RENDITIONS}/{from_text(item.path)}", run.today)
            place = str(free.relative_to(self._trash))
            renditions.intend_release(connection, item.id, to_text(place))
        return place

    def close(self) -> None:
        """Ends the sessions in which copies were asked for."""
        super().close()
        for destination in self._destinations.values():
            destination.close()

    def timeout(self, item: Superseded) -> float:
        """Returns the seconds that reading every copy may take on slow mounts."""
        return 120.0 + (2 + len(item.held)) * item.size / SLOWEST_READ

    def record(self, connection: Connection, item: Superseded, result: Any, run: Run) -> Outcome:
        """Writes that the file is in the trash, or leaves it to be asked about again."""
        reason = self._on_its_way(item) or result.get("reason")
        if reason is not None:
            renditions.wait_for_proof(connection, item.id, HOURS_BETWEEN_QUESTIONS)
            return Outcome("waiting", note=reason)
        place = to_text(result["trash_path"])
        renditions.retire(connection, item.id, place)
        self._log(connection, run, item, "released", f"{item.path} → trash: {place}; {result['proof']}")
        return Outcome("released", {"bytes": float(item.size)})

    def failed(self, connection: Connection, item: Superseded, reason: str, run: Run) -> None:
        """Adds a line to the file's history."""
        self._log(connection, run, item, "failed", reason)

    def _on_its_way(self, item: Superseded) -> str | None:
        for one in item.held:
            if one.state == "staged" and one.destination in self._destinations:
                return f"it is still on its way to “{one.destination}”"
        return None

    def _candidates(self, item: Superseded, run: Run) -> list[Candidate]:
        source = str(self._renditions / from_text(item.path))
        return [
            Candidate(
                self._destinations[one.destination],
                Intent(source, from_text(one.remote_path), item.sha256, item.size, run.tag, one.remote_ids),
                "original" if one.role == "original" else "rendition",
            )
            for one in item.held
            if one.destination in self._destinations
        ]

    def _log(self, connection: Connection, run: Run, item: Superseded, event: str, detail: str) -> None:
        log_event(
            connection,
            run_id=run.run_id,
            stage=self.name,
            event=event,
            media_file_id=item.media_file_id,
            detail=detail,
        )


def prove_and_move(
    doomed: Doomed, candidates: Sequence[Candidate], copies_needed: int, trash: Path, place: str
) -> dict[str, str]:
    """Moves a file to the trash on fresh proof; runs in a worker, where the proof is made and used at once.

    Args:
        doomed: The file.
        candidates: Who may hold copies of it.
        copies_needed: How many must be proven.
        trash: The root of the trash.
        place: Where it goes below that, as it was written down before.

    Returns:
        `trash_path` below the trash, and `proof` in words; or the `reason` why it stays.

    Raises:
        FileNotFoundError: It neither stands in its place nor where it was about to go.
    """
    if not os.path.lexists(doomed.path):
        moved = trash / place
        if moved.is_file() and hash_file(str(moved))["sha256"] == doomed.sha256:
            return {"trash_path": place, "proof": "moved by a run that was ended before it could say so"}
        raise FileNotFoundError(2, "No such file", str(doomed.path))
    try:
        proof = prove(doomed, candidates, copies_needed)
    except NotProven as error:
        return {"reason": str(error)}
    move_to_trash(proof, doomed.path, trash, place)
    seen = ", ".join(f"{copy.destination}: {to_text(copy.remote_path)} at {copy.at:%F %T} UTC" for copy in proof.copies)
    return {"trash_path": place, "proof": f"proven at {seen}"}
