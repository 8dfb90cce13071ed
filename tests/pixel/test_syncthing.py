"""Syncthing's REST interface as two real versions speak it."""

from __future__ import annotations

import pickle
import signal

import httpx
import pytest
from pydantic import SecretStr

from resources.syncthing import FolderStopped, Syncthing, SyncthingAway, SyncthingRefused, _nanoseconds
from tests.pixel_folder import SharedFolder
from tests.syncthing_daemons import KEY, Pair, free_port, wait_until

STRANGER = "P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2"


def test_it_says_who_it_is_and_whom_it_knows(two_daemons: Pair) -> None:
    syncthing = client(two_daemons)
    assert syncthing.my_id() == two_daemons.nas.device
    assert syncthing.version().startswith("v1.")
    assert syncthing.is_connected(two_daemons.device)
    assert syncthing.device(two_daemons.device) is not None
    assert syncthing.device(STRANGER) is None
    assert syncthing.last_seen(STRANGER) is None
    assert not syncthing.is_connected(STRANGER)
    assert syncthing.folder("no-such-folder") is None


def test_a_wrong_key_is_refused_with_where_the_right_one_is(two_daemons: Pair) -> None:
    with pytest.raises(SyncthingRefused, match=r"does not take the API key.*Settings"):
        Syncthing(two_daemons.nas.url, SecretStr("wrong")).started_at()


def test_a_name_that_its_host_check_does_not_take_is_refused_with_what_to_do(two_daemons: Pair) -> None:
    syncthing = Syncthing(f"http://nas.example:{two_daemons.nas.gui}", SecretStr(KEY), transport=ToLoopback())
    with pytest.raises(SyncthingRefused, match="use its IP address"):
        syncthing.started_at()


def test_where_nobody_listens_it_is_away() -> None:
    with pytest.raises(SyncthingAway, match="Is it running"):
        Syncthing(f"http://127.0.0.1:{free_port()}", SecretStr(KEY)).started_at()


def test_a_file_is_known_once_it_was_scanned_and_not_before(shared: SharedFolder) -> None:
    syncthing = client(shared.pair)
    placed = shared.put("a.jpg", b"a photo")
    assert syncthing.file(shared.folder_id, "a.jpg") is None
    syncthing.scan(shared.folder_id, ["a.jpg"])
    info = syncthing.file(shared.folder_id, "a.jpg")
    assert info is not None
    assert (info.here.size, info.here.modified_ns) == (placed.size, placed.mtime_ns)
    assert info.here.version == info.everywhere.version != ()
    assert info.here.modified_by == shared.nas.device[:7]
    assert not (info.here.deleted or info.here.invalid)


def test_a_scan_of_some_paths_finds_those_alone(shared: SharedFolder) -> None:
    syncthing = client(shared.pair)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        shared.put(name, b"a photo")
    syncthing.scan(shared.folder_id, ["a.jpg", "c.jpg"])
    assert syncthing.file(shared.folder_id, "a.jpg") is not None
    assert syncthing.file(shared.folder_id, "b.jpg") is None
    assert syncthing.file(shared.folder_id, "c.jpg") is not None
    syncthing.scan(shared.folder_id)
    assert syncthing.file(shared.folder_id, "b.jpg") is not None


def test_a_folder_that_is_missing_or_paused_is_not_mistaken_for_a_file_that_is(shared: SharedFolder) -> None:
    syncthing = client(shared.pair)
    with pytest.raises(FolderStopped):
        syncthing.file("no-such-folder", "a.jpg")
    shared.share_here(paused=True)
    placed = shared.put("a.jpg", b"a photo")
    with pytest.raises(FolderStopped):
        syncthing.file(shared.folder_id, "a.jpg")
    assert shared.pixel().look(placed).level == "pending"


def test_events_come_once_in_order_and_are_counted_anew_after_a_restart(shared: SharedFolder) -> None:
    syncthing, types = client(shared.pair), ("RemoteIndexUpdated", "FolderErrors")
    last = max((one.id for one in syncthing.events(0, types)), default=0)
    shared.wait_for(shared.place("a.jpg"), "delivered")
    wait_until(lambda: bool(syncthing.events(last, types)), 30, "no event came")
    found = syncthing.events(last, types)
    assert [one.id for one in found] == sorted({one.id for one in found})
    assert all(one.id > last for one in found)
    assert {one.type for one in found} == {"RemoteIndexUpdated"}
    assert found[-1].data["device"] == shared.pair.device
    assert syncthing.events(found[-1].id + 1_000, types) == []
    before = syncthing.started_at()
    shared.nas.stop()
    with pytest.raises(SyncthingAway):
        syncthing.events(0, types)
    shared.nas.start()
    assert all(one.id <= found[-1].id for one in syncthing.events(0, types))
    assert syncthing.started_at() != before


def test_a_connection_that_a_restart_broke_is_opened_again_by_itself(two_daemons: Pair) -> None:
    syncthing = client(two_daemons)
    before = syncthing.started_at()
    two_daemons.nas.stop(signal.SIGKILL)
    two_daemons.nas.start()
    assert syncthing.started_at() != before
    two_daemons.wait_connected()


def test_the_lines_of_stignore_are_read_and_written(shared: SharedFolder) -> None:
    syncthing = client(shared.pair)
    assert syncthing.ignores(shared.folder_id) == []
    syncthing.put_ignores(shared.folder_id, ["*.tmp", "/private"])
    assert syncthing.ignores(shared.folder_id) == ["*.tmp", "/private"]
    assert (shared.here / ".stignore").read_text().split() == ["*.tmp", "/private"]


def test_it_may_be_sent_to_a_worker(two_daemons: Pair) -> None:
    assert pickle.loads(pickle.dumps(client(two_daemons))).my_id() == two_daemons.nas.device


def test_an_address_that_sends_on_is_told_and_the_key_does_not_go_there() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(307, headers={"location": "https://nas.example:8384/rest/system/status"})

    syncthing = Syncthing("http://nas.example:8384", SecretStr(KEY), transport=httpx.MockTransport(answer))
    with pytest.raises(SyncthingRefused, match=r"https://nas\.example:8384"):
        syncthing.started_at()
    assert asked == ["http://nas.example:8384/rest/system/status"]


def test_a_web_page_of_something_else_is_not_taken_for_syncthing() -> None:
    page = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>a router</html>"))
    with pytest.raises(SyncthingRefused, match="is not Syncthing"):
        Syncthing("http://router.example", SecretStr(KEY), transport=page).started_at()


def test_while_it_starts_it_is_away() -> None:
    starting = httpx.MockTransport(lambda _: httpx.Response(503, text="starting"))
    with pytest.raises(SyncthingAway, match="503"):
        Syncthing("http://nas.example", SecretStr(KEY), transport=starting).started_at()


@pytest.mark.parametrize(
    ("moment", "nanoseconds"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("2017-07-14T02:40:00.123456789Z", 1_500_000_000_123_456_789),
        ("2017-07-14T04:40:00.12+02:00", 1_500_000_000_120_000_000),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("", -1),
    ],
)
def test_times_are_read_to_the_nanosecond(moment: str, nanoseconds: int) -> None:
    assert _nanoseconds(moment) == nanoseconds


class ToLoopback(httpx.HTTPTransport):
    """Finds every name on this machine, as a hosts file would."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(host="127.0.0.1")
        return super().handle_request(request)


def client(pair: Pair) -> Syncthing:
    return Syncthing(pair.nas.url, SecretStr(KEY))
