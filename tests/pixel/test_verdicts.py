"""Each verdict against two real daemons, and against what lies on the phone's disk, byte for byte."""

import os
import signal

from tests.pixel_folder import SharedFolder
from tests.syncthing_daemons import wait_until


def test_a_delivered_file_lies_on_the_phone_byte_for_byte_and_proves_it(shared: SharedFolder) -> None:
    placed = shared.place("20200101_IMG_0001.jpg", b"the only copy")
    look = shared.wait_for(placed, "delivered")
    assert shared.is_on_phone(placed.path)
    assert look.evidence().proves(placed.sha256, placed.size)
    assert look.facts["device"] == shared.pair.device
    assert look.facts["syncthing"].startswith(shared.nas.device[:7])


def test_a_name_with_signs_that_mean_something_in_an_address_is_delivered(shared: SharedFolder) -> None:
    placed = shared.place("20200101_Ümläut & 100% #1 +x;ä=b.jpg")
    shared.wait_for(placed, "delivered")
    assert shared.is_on_phone(placed.path)


def test_a_folder_that_the_phone_has_not_accepted_is_complete_and_delivers_nothing(unaccepted: SharedFolder) -> None:
    placed = unaccepted.place("a.jpg")
    needed = unaccepted.pixel().syncthing.completion(unaccepted.folder_id, unaccepted.pair.device)
    assert needed.need_items in (0, 1)  # 0 is the false 100 %, before an index came
    assert unaccepted.pixel().look(placed).level == "pending"
    assert not unaccepted.there.exists()
    unaccepted.share_there()
    unaccepted.wait_for(placed, "delivered")
    assert unaccepted.is_on_phone(placed.path)


def test_a_phone_that_stops_sharing_gets_nothing_more_until_it_shares_again(shared: SharedFolder) -> None:
    first = shared.place("first.jpg")
    shared.wait_for(first, "delivered")
    shared.leave_there()
    second = shared.place("second.jpg", b"another photo")
    assert shared.pixel().look(second).level == "pending"
    assert not shared.is_on_phone("second.jpg")
    shared.share_there()
    with shared.apart():
        pass  # so that they meet again at once
    shared.wait_for(second, "delivered")


def test_a_file_that_syncthing_has_not_seen_yet_is_pending(shared: SharedFolder) -> None:
    assert shared.pixel().look(shared.put("a.jpg", b"unseen")).level == "pending"


def test_nothing_is_delivered_while_the_phone_is_off(shared: SharedFolder) -> None:
    shared.phone.stop()
    try:
        placed = shared.place("a.jpg")
        wait_until(lambda: not shared.pixel().syncthing.is_connected(shared.pair.device), 30, "it stays connected")
        assert shared.pixel().look(placed).level == "pending"
        assert not shared.is_on_phone("a.jpg")
    finally:
        shared.phone.start()
    shared.wait_for(placed, "delivered")


def test_a_phone_that_is_killed_in_mid_sync_never_counts_as_a_holder_until_the_file_is_whole(
    shared: SharedFolder,
) -> None:
    slow(shared, 2_000)
    placed = shared.place("long.mp4", os.urandom(12_000_000))
    wait_until(lambda: any(part_sizes(shared)), 30, "nothing arrives on the phone")
    assert shared.pixel().look(placed).level == "pending"
    shared.phone.stop(signal.SIGKILL)
    assert not shared.is_on_phone("long.mp4")
    assert shared.pixel().look(placed).level == "pending"
    shared.phone.start()
    assert shared.pixel().look(placed).level == "pending"
    slow(shared, 0)
    shared.wait_for(placed, "delivered")
    assert shared.is_on_phone("long.mp4")


def test_a_deletion_on_the_phone_leaves_the_file_here_and_counts_as_freed(shared: SharedFolder) -> None:
    placed = shared.place("a.jpg", b"freed")
    shared.wait_for(placed, "delivered")
    (shared.there / "a.jpg").unlink()
    shared.scan_phone()
    look = shared.wait_for(placed, "freed_on_phone")
    assert look.evidence().proves(placed.sha256, placed.size)
    assert (shared.here / "a.jpg").read_bytes() == b"freed"
    shared.nas.post("db/scan", folder=shared.folder_id)
    assert (shared.here / "a.jpg").read_bytes() == b"freed"
    assert shared.pixel().look(placed).level == "freed_on_phone"


def test_a_file_that_left_the_folder_here_stays_on_the_phone(shared: SharedFolder) -> None:
    placed = shared.place("a.jpg")
    shared.wait_for(placed, "delivered")
    (shared.here / "a.jpg").unlink()
    shared.pixel().scan(["a.jpg"])
    assert shared.wait_for(placed, "problem").words.startswith("it was taken out of the folder")
    other = shared.place("b.jpg", b"so that the phone has heard of both")
    shared.wait_for(other, "delivered")
    assert shared.is_on_phone("a.jpg")


def test_an_edit_on_the_phone_is_told_and_changes_nothing_here(shared: SharedFolder) -> None:
    placed = shared.place("a.jpg", b"as it was")
    shared.wait_for(placed, "delivered")
    shared.change_on_phone("a.jpg", b"edited there")
    assert shared.wait_for(placed, "problem").words == "it was changed on the phone"
    assert (shared.here / "a.jpg").read_bytes() == b"as it was"


def test_a_file_that_was_touched_here_is_not_delivered_under_its_old_facts(shared: SharedFolder) -> None:
    placed = shared.place("a.jpg", b"first")
    shared.wait_for(placed, "delivered")
    again = shared.place("a.jpg", b"other", placed.mtime_ns + 1_000)
    shared.wait_for_words(placed, "changed in the folder on this side")
    shared.wait_for(again, "delivered")
    assert shared.is_on_phone("a.jpg")
    assert shared.pixel().look(placed).level == "problem"


def test_a_conflict_is_told_and_both_files_stay(shared: SharedFolder) -> None:
    placed = shared.place("a.jpg", b"as it was")
    shared.wait_for(placed, "delivered")
    with shared.apart():
        (shared.there / "a.jpg").write_bytes(b"edited there")
        again = shared.place("a.jpg", b"touched here", placed.mtime_ns + 10**18)  # the later one wins
    shared.wait_for(again, "delivered")
    wait_until(lambda: any(shared.there.glob("a.sync-conflict-*")), 30, "the phone's edit is lost")
    assert next(shared.there.glob("a.sync-conflict-*")).read_bytes() == b"edited there"
    assert shared.pixel().look(placed).level == "problem"
    assert shared.files_here() == {"a.jpg": b"touched here"}


def test_a_conflict_that_the_phone_wins_is_told_and_nothing_changes_here(shared: SharedFolder) -> None:
    placed = shared.place("a.jpg", b"as it was", 1_000_000_000_000_000_000)
    shared.wait_for(placed, "delivered")
    with shared.apart():
        (shared.there / "a.jpg").write_bytes(b"edited there")
        again = shared.place("a.jpg", b"touched here", placed.mtime_ns + 1)
    shared.wait_for(again, "problem")
    assert (shared.there / "a.jpg").read_bytes() == b"edited there"
    assert shared.files_here() == {"a.jpg": b"touched here"}


def test_what_lay_on_the_phone_under_the_same_name_before_and_was_deleted_there_is_no_delivery(
    shared: SharedFolder,
) -> None:
    with shared.apart():
        (shared.there / "a.jpg").write_bytes(b"the phone's own photo")  # younger, so that it wins
        placed = shared.place("a.jpg", b"ours")
    shared.wait_for(placed, "problem")
    (shared.there / "a.jpg").unlink()
    shared.scan_phone()
    shared.wait_for(placed, "delivered")
    assert shared.is_on_phone("a.jpg")


def test_a_file_that_the_phone_leaves_out_is_not_delivered(shared: SharedFolder) -> None:
    (shared.there / ".stignore").write_text("*.mp4\n")
    shared.scan_phone()
    film, photo = shared.place("a.mp4", b"a film"), shared.place("b.jpg", b"a photo")
    shared.wait_for(photo, "delivered")
    assert shared.pixel().look(film).level == "pending"
    assert not shared.is_on_phone("a.mp4")


def test_a_restart_of_the_syncthing_here_costs_a_wait_and_no_verdict(shared: SharedFolder) -> None:
    pixel, placed = shared.pixel(), shared.place("a.jpg")
    shared.wait_for(placed, "delivered")
    assert pixel.look(placed).level == "delivered"
    before = pixel.syncthing.started_at()
    shared.nas.stop()
    shared.nas.start()
    assert pixel.look(placed).level in ("delivered", "pending")  # over the same connection as before
    assert pixel.syncthing.started_at() != before
    shared.wait_for(placed, "delivered")


def test_many_files_with_long_names_are_found_by_a_few_scans(shared: SharedFolder) -> None:
    placed = [shared.put(f"20200101_{number:04}{'ö' * 90}.jpg", b"%d" % number) for number in range(80)]
    pixel = shared.pixel()
    pixel.scan([one.path for one in placed])
    assert all(pixel.syncthing.file(shared.folder_id, one.path) for one in placed)


def slow(shared: SharedFolder, kilobytes: int) -> None:
    options = {"maxRecvKbps": kilobytes, "limitBandwidthInLan": True}
    shared.phone.patch("config/options", options)


def part_sizes(shared: SharedFolder) -> list[int]:
    return [one.stat().st_size for one in shared.there.glob(".syncthing.*.tmp")]
