"""What belongs together, decided by names, identifiers and days alone."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from catalog import bundles, media
from catalog.media import MediaFile
from media.kinds import kind_of_name
from pipeline.bundling import Candidate, assemble, form_bundles
from tests.the_catalog import DAY, NOON, add_stored, sha


def content(name: str, number: int = 0, **given: Any) -> MediaFile:
    kind = kind_of_name(name)
    assert kind is not None
    values: dict[str, Any] = dict.fromkeys(MediaFile.__dataclass_fields__)
    values |= {
        "id": number or abs(hash(name)) % 10**9,
        "sha256": sha(number or abs(hash(name))),
        "size": 1,
        "kind": kind.value,
        "format": name.rpartition(".")[2].lower(),
        "stored_path": name,
        "capture_local": NOON,
        "partition_date": DAY,
        "state": "kept",
    }
    return MediaFile(**(values | given))


def grouped(*names: str, **special: MediaFile) -> list[tuple[str, dict[str, str]]]:
    files = [Candidate(content(name), name) for name in names]
    return described(files)


def described(candidates: list[Candidate]) -> list[tuple[str, dict[str, str]]]:
    groups = [(group.kind, {one.name: role for one, role in group.members()}) for group in assemble(candidates)]
    return sorted(groups, key=str)


def candidate(name: str, **given: Any) -> Candidate:
    return Candidate(content(name, **given), name)


NAMES = st.sampled_from(
    ["IMG_1.HEIC", "IMG_1.JPG", "IMG_1.MOV", "IMG_E1.HEIC", "IMG_1.DNG", "IMG_1.AAE", "IMG_1.HEIC.xmp",
     "IMG_1.JPG.json", "IMG_1-edited.jpg", "IMG_1.MP4"]
)  # fmt: skip
CANDIDATES = st.lists(
    st.builds(
        lambda name, number, days, seconds, identifier: Candidate(
            content(
                name,
                number,
                partition_date=DAY + timedelta(days=days),
                duration_seconds=seconds,
                content_identifier=identifier,
            ),
            name,
        ),
        NAMES,
        st.integers(1, 10**6),
        st.integers(0, 1),
        st.sampled_from([None, 2.5, 60.0]),
        st.sampled_from([None, "A", "B"]),
    ),
    max_size=9,
    unique_by=lambda one: one.file.id,
)


@given(CANDIDATES)
def test_every_candidate_is_in_exactly_one_group_with_one_lead(candidates: list[Candidate]) -> None:
    groups = assemble(candidates)
    members = [one.file.id for group in groups for one, _ in group.members()]
    assert sorted(members) == sorted(one.file.id for one in candidates)
    for group in groups:
        assert [role for _, role in group.members()].count("lead") == 1
        assert [role for _, role in group.members()].count("live_video") <= 1


@given(CANDIDATES, st.randoms())
def test_the_order_in_which_files_are_found_changes_nothing(candidates: list[Candidate], random: Any) -> None:
    shuffled = list(candidates)
    random.shuffle(shuffled)
    assert assemble(shuffled) == assemble(candidates)


def test_a_live_photo_is_a_still_and_a_short_video() -> None:
    pair = [candidate("IMG_1.HEIC"), candidate("IMG_1.MOV", duration_seconds=2.8)]
    assert described(pair) == [("live_photo", {"IMG_1.HEIC": "lead", "IMG_1.MOV": "live_video"})]


def test_apples_identifier_decides_over_length_and_day() -> None:
    pair = [
        candidate("IMG_1.HEIC", content_identifier="A"),
        candidate("IMG_1.MOV", content_identifier="A", duration_seconds=30.0, partition_date=DAY + timedelta(days=1)),
    ]
    assert described(pair)[0][0] == "live_photo"
    strangers = [
        candidate("IMG_1.HEIC", content_identifier="A"),
        candidate("IMG_1.MOV", content_identifier="B", duration_seconds=2.0),
    ]
    assert [kind for kind, _ in described(strangers)] == ["single", "single"]


def test_a_long_clip_of_the_same_name_is_no_live_photo() -> None:
    assert len(described([candidate("IMG_1.JPG"), candidate("IMG_1.MOV", duration_seconds=40.0)])) == 2
    assert len(described([candidate("IMG_1.JPG"), candidate("IMG_1.MOV")])) == 2  # of unknown length


def test_raw_and_jpeg_travel_together_and_the_jpeg_leads() -> None:
    assert grouped("P1.DNG", "P1.JPG") == [("raw_jpeg", {"P1.JPG": "lead", "P1.DNG": "raw"})]


def test_a_raw_alone_leads_itself_and_its_sidecar() -> None:
    assert grouped("P1.DNG", "P1.xmp") == [("single", {"P1.DNG": "lead", "P1.xmp": "sidecar"})]


def test_an_edit_joins_its_original_with_the_sidecar() -> None:
    assert grouped("IMG_1.HEIC", "IMG_E1.HEIC", "IMG_1.AAE") == [
        ("edited", {"IMG_1.HEIC": "lead", "IMG_E1.HEIC": "edit", "IMG_1.AAE": "sidecar"})
    ]


def test_takeouts_json_joins_the_file_that_it_describes() -> None:
    assert grouped("a.jpg", "a.jpg.supplemental-metadata.json", "a.png", "a.png.json") == [
        ("single", {"a.jpg": "lead", "a.jpg.supplemental-metadata.json": "sidecar"}),
        ("single", {"a.png": "lead", "a.png.json": "sidecar"}),
    ]


def test_two_photos_of_one_stem_are_two_bundles() -> None:
    assert grouped("a.jpg", "a.png") == [("single", {"a.jpg": "lead"}), ("single", {"a.png": "lead"})]


def test_an_edit_in_another_format_joins_the_original_of_its_format() -> None:
    found = grouped("a.heic", "a.jpg", "a-edited.jpg")
    assert ("edited", {"a.jpg": "lead", "a-edited.jpg": "edit"}) in found


def test_a_sidecar_without_its_photo_stands_alone() -> None:
    assert grouped("IMG_1.AAE") == [("single", {"IMG_1.AAE": "lead"})]


# ------------------------------------------------------------------ in the catalog


def bundled(engine: Engine, *ids: int) -> list[tuple[str, dict[str, str]]]:
    """Forms the bundles of some contents, one after the other, as the stage does."""
    with engine.begin() as connection:
        for file in media.load_media(connection, ids):
            form_bundles(connection, file, file.stored_path)
        return in_catalog(connection)


def in_catalog(connection: Connection) -> list[tuple[str, dict[str, str]]]:
    rows = connection.execute(
        text(
            "SELECT b.kind, jsonb_object_agg(m.file_name, m.role) AS members FROM bundles b "
            "JOIN bundle_members m ON m.bundle_id = b.id GROUP BY b.id ORDER BY b.id"
        )
    )
    return [(row.kind, dict(row.members)) for row in rows]


def stored(engine: Engine, path: str, day: date = DAY, **given: Any) -> int:
    kind = kind_of_name(path)
    assert kind is not None
    with engine.begin() as connection:
        return add_stored(connection, path, kind=kind.value, partition_date=day, **given)


def test_forming_bundles_twice_changes_nothing(engine: Engine) -> None:
    ids = [stored(engine, "IMG_1.HEIC"), stored(engine, "IMG_1.MOV", duration_seconds=2.0), stored(engine, "IMG_1.AAE")]
    first = bundled(engine, *ids)
    assert first == [("live_photo", {"IMG_1.HEIC": "lead", "IMG_1.MOV": "live_video", "IMG_1.AAE": "sidecar"})]
    assert bundled(engine, *ids) == first


def test_a_late_photo_takes_the_video_that_stood_alone_as_its_half(engine: Engine) -> None:
    assert bundled(engine, stored(engine, "IMG_1.MOV", duration_seconds=2.0))[0][0] == "single"
    assert bundled(engine, stored(engine, "IMG_1.HEIC")) == [
        ("live_photo", {"IMG_1.HEIC": "lead", "IMG_1.MOV": "live_video"})
    ]


def test_a_late_photo_takes_the_sidecar_that_stood_alone_and_it_is_not_sent_twice(engine: Engine) -> None:
    bundled(engine, stored(engine, "IMG_1.AAE"))
    assert bundled(engine, stored(engine, "IMG_1.HEIC")) == [("single", {"IMG_1.HEIC": "lead", "IMG_1.AAE": "sidecar"})]


def test_a_late_half_gets_the_day_of_its_lead(engine: Engine) -> None:
    photo = stored(engine, "IMG_1.HEIC", content_identifier="A")
    video = stored(engine, "IMG_1.MOV", DAY + timedelta(days=1), content_identifier="A", duration_seconds=2.0)
    bundled(engine, photo, video)
    with engine.connect() as connection:
        assert [file.partition_date for file in media.load_media(connection, [photo, video])] == [DAY, DAY]


def test_the_same_stem_on_another_day_is_not_bundled(engine: Engine) -> None:
    photo = stored(engine, "IMG_1.HEIC")
    video = stored(engine, "IMG_1.MOV", DAY + timedelta(days=30), duration_seconds=2.0)
    assert [kind for kind, _ in bundled(engine, photo, video)] == ["single", "single"]


def test_the_same_stem_in_another_folder_is_not_bundled(engine: Engine) -> None:
    ids = stored(engine, "a/IMG_1.HEIC"), stored(engine, "b/IMG_1.MOV", duration_seconds=2.0)
    assert len(bundled(engine, *ids)) == 2


def test_two_photos_of_one_name_on_one_day_get_two_names(engine: Engine) -> None:
    ids = stored(engine, "a/IMG_1.JPG"), stored(engine, "b/img_1.jpg")
    names = [name for _, members in bundled(engine, *ids) for name in members]
    assert len({name.lower() for name in names}) == 2
    assert all(name.lower().endswith(".jpg") for name in names)


def test_one_sidecar_content_may_belong_to_two_photos(engine: Engine) -> None:
    one, two = stored(engine, "IMG_1.HEIC"), stored(engine, "IMG_2.HEIC")
    with engine.begin() as connection:
        from tests.the_catalog import add_observation

        aae = add_stored(connection, "IMG_1.AAE", kind="sidecar")
        add_observation(
            connection, source_id="IMG_2.AAE", stem_key="img_2", kind="sidecar", state="duplicate", media_file_id=aae
        )
    bundled(engine, one, two, aae)
    with engine.connect() as connection:
        assert len(bundles.bundles_of(connection, aae)) == 2
