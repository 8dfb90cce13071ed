"""How each fault that the stand-in acts out comes up in the real pyicloud."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from pyicloud.common.cloudkit import CKModifyOperation, CKWriteRecord, CKZoneIDReq
from pyicloud.common.cloudkit.client import CloudKitApiError
from pyicloud.exceptions import (
    PyiCloudAPIResponseException,
    PyiCloudAuthRequiredException,
    PyiCloudConnectionException,
    PyiCloudEndpointGoneException,
    PyiCloudServiceNotActivatedException,
    PyiCloudServiceUnavailable,
)

from media.apple_checksum import AppleChecksum
from services.icloud_standin import Fault
from tests.icloud_library import fill, jpeg

NOON = datetime(2024, 5, 17, 12, 0, tzinfo=UTC)
ZONE = CKZoneIDReq(zoneName="PrimarySync", zoneType="REGULAR_CUSTOM_ZONE")
LISTING, CONTENT, REGISTRATION = "records/query$", "icloud-content", "putAsset$"


@pytest.fixture
def url(api, library) -> str:
    library.add("a.jpg", jpeg(1), taken=NOON, offset_seconds=0)
    return next(iter(api.photos.all)).download_url()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(1))
    return path


@pytest.mark.parametrize(
    "status, problem, code",
    [
        (421, PyiCloudAPIResponseException, 421),
        (503, PyiCloudAPIResponseException, 503),
        (429, PyiCloudAPIResponseException, 429),
        (410, PyiCloudEndpointGoneException, 410),
    ],
)
def test_a_refusal_while_listing_keeps_its_status(api, icloud, library, status, problem, code):
    fill(library, 250)
    album = api.photos.all
    icloud.faults.add(Fault("answer", where=LISTING, status=status, after=1, retry_after=7))
    listed = []
    with pytest.raises(problem) as refused:
        listed.extend(photo.id for photo in album)
    assert refused.value.code == code
    assert len(list(album)) == len(album), "it happens once, and then the same listing is whole"


def test_a_listing_may_ask_to_sign_in_again(api, icloud, library):
    fill(library, 3)
    icloud.faults.add(Fault("answer", where=LISTING, status=450, after=1))
    _ = api.photos
    with pytest.raises(PyiCloudAuthRequiredException):
        list(api.photos.all)


def test_how_long_to_wait_is_told_only_to_who_asks_without_pyicloud(icloud, url):
    icloud.faults.add(Fault("answer", where=CONTENT, status=429, retry_after=7))
    assert requests.get(url, timeout=10).headers["Retry-After"] == "7"
    assert requests.get(url, timeout=10).status_code == 200


@pytest.mark.parametrize("kind", ["drop", "lose_answer"])
def test_a_connection_that_breaks_off_says_nothing_about_the_request(api, icloud, library, kind):
    fill(library, 3)
    album = api.photos.all
    icloud.faults.add(Fault(kind, where="query/batch$"))
    with pytest.raises(PyiCloudConnectionException):
        len(album)
    assert len(album) == 3


def test_an_expired_address_is_called_gone_though_only_the_address_is(api, icloud, url):
    photo = next(iter(api.photos.all))
    icloud.expire_urls()
    with pytest.raises(PyiCloudEndpointGoneException):
        photo.download()
    assert next(iter(api.photos.all)).download() == jpeg(1)


def test_a_body_may_come_cut_off(icloud, url):
    icloud.faults.add(Fault("truncate", where=CONTENT, at=50))
    with pytest.raises(requests.exceptions.RequestException), requests.get(url, stream=True, timeout=10) as answer:
        received = answer.raw.read(50)
        assert received == jpeg(1)[:50] and int(answer.headers["Content-Length"]) == len(jpeg(1))
        list(answer.iter_content(1000))


def test_a_body_may_come_with_one_byte_altered(icloud, url):
    icloud.faults.add(Fault("flip", where=CONTENT, at=200))
    altered = requests.get(url, timeout=10).content
    differing = [at for at, (one, two) in enumerate(zip(altered, jpeg(1), strict=True)) if one != two]
    checksum = AppleChecksum()
    checksum.update(altered)
    assert differing == [200] and checksum.value().replace("/", "_").replace("+", "-") not in url


def test_a_range_may_be_passed_over(icloud, url):
    icloud.faults.add(Fault("ignore_range", where=CONTENT))
    ranged = [requests.get(url, headers={"Range": "bytes=100-"}, timeout=10) for _ in range(2)]
    assert [answer.status_code for answer in ranged] == [200, 206]
    assert ranged[0].content == jpeg(1)


def test_an_answer_may_come_late(icloud, url):
    icloud.faults.add(Fault("slow", where=CONTENT, seconds=0.5))
    began = time.monotonic()
    assert requests.get(url, timeout=10).content == jpeg(1)
    assert time.monotonic() - began > 0.5
    icloud.faults.add(Fault("slow", where=CONTENT, seconds=5))
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(url, timeout=0.2)


def test_a_library_may_be_indexing_still(api, icloud):
    icloud.faults.add(Fault("not_indexed"))
    with pytest.raises(PyiCloudServiceUnavailable) as refused:
        _ = api.photos
    assert isinstance(refused.value.__cause__, PyiCloudServiceNotActivatedException)
    assert "not finished indexing" in str(refused.value.__cause__)
    assert len(api.photos.all) == 0


def test_a_registration_may_have_to_be_tried_again(api, icloud, library, path):
    icloud.faults.add(Fault("retry_put"))
    with pytest.raises(CloudKitApiError, match="503") as refused:
        api.photos.private_client.upload_file(str(path), zone_name="PrimarySync")
    assert refused.value.payload["response"]["isRetryable"] is True
    assert library.assets == []
    assert not api.photos.private_client.upload_file(str(path), zone_name="PrimarySync").is_duplicate


def test_when_the_acknowledgement_of_an_upload_is_lost_trying_again_makes_no_second_asset(api, icloud, library, path):
    icloud.faults.add(Fault("lose_answer", where=REGISTRATION))
    with pytest.raises(PyiCloudConnectionException):
        api.photos.private_client.upload_file(str(path), zone_name="PrimarySync")
    (asset,) = library.assets
    again = api.photos.private_client.upload_file(str(path), zone_name="PrimarySync")
    assert again.is_duplicate and again.cplAsset == asset.record_name and library.assets == [asset]


def test_an_upload_may_break_off(api, icloud, library, path):
    icloud.faults.add(Fault("drop", where="/upload/"))
    with pytest.raises(PyiCloudConnectionException):
        api.photos.private_client.upload_file(str(path), zone_name="PrimarySync")
    assert library.assets == []


@pytest.mark.parametrize("where", ["createUploadUrl$", REGISTRATION])
def test_there_may_be_no_room_left(api, icloud, library, path, where):
    icloud.faults.add(Fault("answer", where=where, status=507))
    with pytest.raises(PyiCloudAPIResponseException) as refused:
        api.photos.private_client.upload_file(str(path), zone_name="PrimarySync")
    assert refused.value.code == 507 and library.assets == []


def test_a_change_may_be_in_conflict_without_a_cause_that_a_client_can_see(api, icloud, library):
    asset = fill(library, 1)[0]
    icloud.faults.add(Fault("conflict"))
    with pytest.raises(PyiCloudAPIResponseException, match="CONFLICT"):
        _delete(api, asset)
    assert not asset.deleted
    _delete(api, asset)
    assert asset.deleted


def test_when_the_acknowledgement_of_a_deletion_is_lost_it_is_done_all_the_same(api, icloud, library):
    asset = fill(library, 1)[0]
    icloud.faults.add(Fault("lose_answer", where="records/modify$"))
    with pytest.raises(PyiCloudConnectionException):
        _delete(api, asset)
    assert asset.deleted
    (record,) = api.photos.private_client.lookup(record_names=[asset.record_name], zone_id=ZONE).records
    assert record.fields.get_value("isDeleted") == 1


def test_a_fault_comes_as_often_and_as_late_as_it_was_asked_for(icloud, url):
    fault = icloud.faults.add(Fault("answer", where=CONTENT, status=503, times=2, after=1))
    assert [requests.get(url, timeout=10).status_code for _ in range(5)] == [200, 503, 503, 200, 200]
    assert fault.happened == 2
    lasting = icloud.faults.add(Fault("answer", where=CONTENT, status=503, times=None))
    assert {requests.get(url, timeout=10).status_code for _ in range(5)} == {503}
    icloud.faults.remove(lasting)
    assert requests.get(url, timeout=10).status_code == 200


def _delete(api, asset) -> None:
    record = CKWriteRecord(
        recordName=asset.record_name,
        recordType="CPLAsset",
        recordChangeTag=asset.tag,
        fields={"isDeleted": {"type": "INT64", "value": 1}},
    )
    operation = CKModifyOperation(operationType="update", record=record)
    api.photos.private_client.modify(operations=[operation], zone_id=ZONE, atomic=True)
