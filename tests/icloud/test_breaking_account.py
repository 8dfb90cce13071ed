"""Signing in under attack: several who wait, an Apple that refuses what follows, an answer that makes no sense."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from pipeline.icloud_account import LeftAlone, silence
from pipeline.icloud_originals import ICloudItem
from resources.icloud_errors import Away, NeedsPerson, Throttled
from services.icloud_standin import Account, Fault, ICloudStandin
from tests.icloud.test_account import pages, state
from tests.icloud_world import LISTING, World


def test_those_who_waited_for_the_account_do_not_try_what_has_just_been_refused(
    signed_in: World, account: Account, icloud: ICloudStandin
) -> None:
    account.expire_session()
    account.expire_trust()
    icloud.faults.add(Fault("slow", where="/init$", seconds=1.0))
    icloud.reset_requests()
    refused: list[str] = []

    def sync() -> None:
        with pytest.raises(NeedsPerson) as needs:
            signed_in.sync(wait_seconds=30.0)
        refused.append(needs.value.need)

    threads = [threading.Thread(target=sync) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == ["code"] * 3
    assert pages(icloud).count("init") == 1, "each further try may send a code, or lock the account"


def test_an_apple_that_takes_the_sign_in_and_nothing_else_is_left_alone_for_longer_each_time(
    signed_in: World, icloud: ICloudStandin
) -> None:
    refusing = icloud.faults.add(Fault("answer", where=LISTING, status=421, times=None))
    icloud.reset_requests()
    signs_in = []
    for _ in range(60):  # an hour of the sensor's ticks
        with pytest.raises((Away, LeftAlone)):
            signed_in.sync()
        signs_in.append(pages(icloud).count("accountLogin"))
        signed_in.ahead += timedelta(minutes=1)
    assert 2 <= sum(signs_in) <= 6
    icloud.faults.remove(refusing)
    signed_in.ahead += timedelta(hours=13)
    assert signed_in.sync().complete and state(signed_in).throttled_count == 0


def test_a_silence_that_no_server_can_mean_ends_after_a_day(signed_in: World, icloud: ICloudStandin) -> None:
    icloud.faults.add(Fault("answer", where=LISTING, status=503, retry_after=999_999_999))
    with pytest.raises(Throttled):
        signed_in.sync()
    signed_in.ahead = timedelta(hours=23)
    with pytest.raises(LeftAlone):
        signed_in.sync()
    signed_in.ahead = timedelta(hours=25)
    assert signed_in.sync().complete
    assert silence(0, 4 * 3600.0) == timedelta(hours=4)


@pytest.mark.parametrize("wait", ["30", None, {}])
def test_a_zone_that_names_no_number_of_seconds_is_left_alone_all_the_same(
    signed_in: World, icloud: ICloudStandin, wait: object
) -> None:
    zone = {"serverErrorCode": "THROTTLED", "retryAfter": wait, "zoneID": {"zoneName": "PrimarySync"}}
    icloud.faults.add(Fault("answer", where=LISTING, status=200, body={"zones": [zone]}))
    with pytest.raises(Throttled):
        signed_in.sync()
    with pytest.raises(LeftAlone):
        signed_in.sync()


def test_an_address_is_not_in_what_python_says_of_a_download() -> None:
    signed = "https://cvws.icloud-content.com/B/secret?o=signature"
    item = ICloudItem(None, None, {}, None, url=signed)  # type: ignore[arg-type]
    assert item.url == signed and "secret" not in repr(item)
