"""Whatever goes wrong on the way to iCloud, no photo is lost and none comes there twice."""

from __future__ import annotations

import pytest

from pipeline import icloud_account, layout
from services.icloud_standin import Account, Fault, ICloudStandin, Library
from tests.icloud_clients import PASSWORD
from tests.icloud_library import jpeg
from tests.icloud_uploads import ACCOUNT, BYTES, LOOKUP, REGISTER, Home, apple


def test_an_acknowledgement_that_is_lost_200_times_makes_200_single_photos(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    for number in range(200):
        home.photo(jpeg(number), f"IMG_{number}.JPG")
    home.stage()
    lost = [icloud.faults.add(Fault("lose_answer", where=REGISTER))]
    report = home.upload(progress=lambda *_: lost.append(icloud.faults.add(Fault("lose_answer", where=REGISTER))))
    assert report.counts == {"uploaded": 200}
    assert sum(one.happened for one in lost) >= 200
    assert len({asset.checksum for asset in library.assets}) == len(library.assets) == 200
    icloud.faults.clear()
    assert home.verify(limit=5).counts == {"verified": 5}


def test_what_icloud_does_not_show_yet_is_pending_and_nobody_waits_for_it(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    home.photo(jpeg(1))
    icloud.faults.add(Fault("not_visible", seconds=3600))
    home.stage()
    home.upload()
    report = home.verify()
    assert (report.counts, report.failures) == ({"pending": 1}, [])
    assert "does not show it yet" in report.notes[0][1]
    assert (home.states, home.attempts, home.slept) == (["uploaded"], 0, [])
    (row,) = home.rows("SELECT error, extract(epoch FROM not_before - now())::float AS seconds FROM work")
    assert row.error is None and 15 < row.seconds <= 25
    assert home.verify().counts == {}  # not before its time
    home.change("UPDATE deliveries SET changed_at = now() - interval '2 hours'")
    home.time_passes()
    assert home.verify().counts == {"pending": 1}
    (row,) = home.rows("SELECT extract(epoch FROM not_before - now())::float AS seconds FROM work")
    assert row.seconds > 3000
    library._arriving = [(0.0, asset) for _, asset in library._arriving]
    home.time_passes()
    assert home.verify().counts == {"verified": 1}


def test_what_icloud_never_shows_is_sent_again_after_a_day_and_becomes_no_second_photo(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    home.photo(jpeg(1))
    icloud.faults.add(Fault("not_visible", seconds=3600))
    home.stage()
    home.upload()
    home.change("UPDATE deliveries SET changed_at = now() - interval '25 hours'")
    assert home.verify().counts == {"absent": 1}
    assert home.upload().counts == {"uploaded": 1}
    assert home.rows("SELECT remote_ids FROM deliveries")[0].remote_ids["duplicate"] is True
    library._arriving = [(0.0, asset) for _, asset in library._arriving]
    assert home.verify().counts == {"verified": 1}
    assert len(library.assets) == 1


ONE_TIME = [
    Fault("retry_put"),
    Fault("drop", where=BYTES),
    Fault("drop", where=REGISTER),
    Fault("lose_answer", where=BYTES),
    Fault("truncate", where=REGISTER),
    Fault("answer", where=REGISTER, status=421),
    Fault("answer", where="createUploadUrl$", status=450),
    Fault("answer", where=LOOKUP, status=421),
    Fault("answer", where=BYTES, status=429, retry_after=1),
    Fault("answer", where=BYTES, status=200, body={"singleFile": {"fileChecksum": apple(b"altered"), "size": 1}}),
    Fault("answer", where=REGISTER, status=200, body=[]),
    Fault("answer", where=REGISTER, status=500),
]


@pytest.mark.parametrize("fault", ONE_TIME, ids=lambda one: f"{one.kind} {one.status} {one.where}")
def test_what_passes_is_got_over_within_the_run(
    home: Home, library: Library, icloud: ICloudStandin, fault: Fault
) -> None:
    home.photo(jpeg(1))
    icloud.faults.add(replace_fault := Fault(fault.kind, fault.where, status=fault.status, body=fault.body))
    replace_fault.retry_after = fault.retry_after
    assert home.deliver() == [{"staged": 1}, {"uploaded": 1}, {"verified": 1}]
    assert (len(library.assets), replace_fault.happened) == (1, 1)


LASTING = [
    (Fault("retry_put"), "later", 200),
    (Fault("drop", where=BYTES), "cannot be reached", 200),
    (Fault("answer", where=BYTES, status=503), "fewer requests", 800),
    (Fault("answer", where="createUploadUrl$", status=429, retry_after=7200), "fewer requests", 7000),
    (Fault("answer", where="createUploadUrl$", status=507), "no room", -60),
    (Fault("answer", where=REGISTER, status=507), "no room", -60),
    (Fault("answer", where="photosupload", status=410), "update mediapipe-assets", 6 * 3600 - 60),
    (Fault("answer", where=REGISTER, status=421), "refuses the requests", 200),
]


@pytest.mark.parametrize(("fault", "words", "seconds"), LASTING, ids=lambda one: getattr(one, "kind", None))
def test_what_lasts_leaves_everything_pending_without_a_failure_and_stops_asking(
    home: Home, library: Library, icloud: ICloudStandin, fault: Fault, words: str, seconds: float
) -> None:
    for number in range(4):
        home.photo(jpeg(number), f"IMG_{number}.JPG")
    home.stage()
    lasting = Fault(fault.kind, fault.where, times=None, status=fault.status, retry_after=fault.retry_after)
    icloud.faults.add(lasting)
    report = home.upload()
    assert (report.counts, report.failures, home.attempts) == ({"pending": 4}, [], 0)
    assert words in report.notes[0][1]
    assert lasting.happened <= 8, "the others were asked for all the same"
    waits = home.rows("SELECT error, extract(epoch FROM not_before - now())::float AS seconds FROM work")
    assert all(one.error is None and one.seconds > seconds for one in waits)
    icloud.faults.clear()
    home.time_passes()
    assert home.upload().counts == {"uploaded": 4}
    assert home.verify().counts == {"verified": 4}
    assert len(library.assets) == 4


def test_once_apple_wants_nothing_more_no_more_files_are_claimed(home: Home, icloud: ICloudStandin) -> None:
    for number in range(66):
        home.photo(jpeg(number), f"IMG_{number}.JPG")
    home.stage()
    fault = icloud.faults.add(Fault("answer", where="createUploadUrl$", status=507, times=None))
    report = home.upload()
    assert (report.counts, fault.happened) == ({"pending": 64}, 1)
    assert len(home.rows("SELECT 1 FROM work")) == 64, "two are not even put off: they are due at the next run"


def test_when_apple_asks_for_patience_the_next_run_asks_it_nothing(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    home.photo(jpeg(1))
    home.stage()
    icloud.faults.add(Fault("answer", where="createUploadUrl$", status=503))
    assert home.upload().counts == {"pending": 1}
    home.change("UPDATE work SET not_before = now() - interval '1 s'")
    icloud.reset_requests()
    report = home.upload()
    assert report.counts == {"pending": 1}
    assert "left alone until" in report.notes[0][1]
    assert icloud.request_log() == []
    home.time_passes()
    assert home.upload().counts == {"uploaded": 1}
    assert library.assets


def test_one_file_whose_line_is_lost_each_time_stands_in_no_other_ones_way(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    for number in range(3):
        home.photo(jpeg(number), f"IMG_{number}.JPG")
    home.stage()
    icloud.faults.add(Fault("drop", where=BYTES, times=4))
    assert home.upload().counts == {"pending": 1, "uploaded": 2}


def test_while_a_person_is_needed_nothing_is_sent_and_nothing_fails(
    home: Home, account: Account, icloud: ICloudStandin
) -> None:
    home.photo(jpeg(1))
    home.stage()
    with home.engine.begin() as connection:
        from catalog.icloud import set_account

        set_account(connection, ACCOUNT, needs="code", needs_detail="Apple asks for a code.")
    icloud.reset_requests()
    report = home.upload()
    assert (report.counts, home.attempts) == ({"pending": 1}, 0)
    assert "Apple asks for a code" in report.notes[0][1]
    assert icloud.request_log() == []


def test_while_another_process_is_signed_in_the_upload_waits_for_its_turn(home: Home, library: Library) -> None:
    home.photo(jpeg(1))
    home.stage()
    with icloud_account.owned(home.engine, home.sign_in):
        report = home.upload()
    assert report.counts == {"pending": 1}
    assert "Another process" in report.notes[0][1]
    home.time_passes()
    assert home.upload().counts == {"uploaded": 1}


def test_a_file_type_that_apple_refuses_fails_with_what_to_do(
    home: Home, library: Library, icloud: ICloudStandin
) -> None:
    home.photo(jpeg(1))
    home.stage()
    refusal = [{"response": {"status": 415, "isRetryable": False, "errorMessage": "unsupported type"}}]
    icloud.faults.add(Fault("answer", where=REGISTER, status=200, body=refusal, times=None))
    report = home.upload()
    assert report.counts == {"failed": 1}
    reason = report.failures[0][1]
    assert "unsupported type" in reason and "destinations.icloud.accept" in reason and "self-test" in reason
    assert (home.attempts, library.assets) == (1, [])


def test_a_file_that_is_no_longer_what_was_promised_is_not_sent(home: Home, library: Library) -> None:
    home.photo(jpeg(1))
    home.stage()
    (path,) = (home.roots[layout.ORIGINALS] / "2024").rglob("*.JPG")
    path.write_bytes(jpeg(2))
    report = home.upload()
    assert report.counts == {"failed": 1}
    assert "does not hold the bytes" in report.failures[0][1]
    assert library.assets == []


def test_no_password_and_no_signed_address_is_written_anywhere(
    home: Home, icloud: ICloudStandin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    home.photo(jpeg(1))
    icloud.faults.add(Fault("drop", where=BYTES, times=5))
    home.stage()
    home.upload()
    home.time_passes()
    home.upload()
    home.verify()
    tables = ("deliveries", "pipeline_logs", "work", "left_out", "icloud_accounts", "system_config")
    kept = " ".join(str(tuple(row)) for table in tables for row in home.rows(f"SELECT * FROM {table}"))
    ours = " ".join(record.getMessage() for record in caplog.records if "standin" not in record.name)
    for secret in (PASSWORD, "contentupload.icloud-content.com/upload/"):
        assert secret not in kept
        assert secret not in ours
