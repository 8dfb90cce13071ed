"""The settings of iCloud: entries of another kind beside folders and archives, their shorthand and their secrets."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel
from sqlalchemy import Engine

from pipeline.assembly import Platform
from resources.settings import (
    ArchiveDestination,
    FolderSource,
    ICloudDestination,
    ICloudSource,
    Settings,
    SettingsError,
    describe,
    load_settings,
)
from resources.settings_file import add_source

SECRET = "hunter2-correct-horse"
ME = "me@example.com"
APPLE_ID = {"MEDIAPIPE_ICLOUD__APPLE_ID": ME}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def write(home: Path, text: str) -> None:
    (home / "mediapipe.toml").write_text(text, "utf-8")


def load(home: Path, env: dict[str, str] | None = None, **overrides: object) -> Settings:
    return load_settings(home, environ=env or {}, overrides=overrides)


def refusal(home: Path, env: dict[str, str] | None = None, **overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load(home, env, **overrides)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    return str(caught.value)


def icloud(settings: Settings, name: str = "icloud") -> ICloudSource:
    return settings.icloud_sources[name]


def password(settings: Settings, name: str = "icloud") -> str | None:
    secret = icloud(settings, name).password
    return secret.get_secret_value() if secret else None


# --- kinds


def test_an_icloud_source_has_these_defaults(home: Path) -> None:
    write(home, f"[sources.phone]\nkind = 'icloud'\napple_id = '{ME}'\n")
    assert icloud(load(home), "phone").model_dump() == {
        "kind": "icloud",
        "enabled": True,
        "account": "",
        "apple_id": ME,
        "password": None,
        "library": "personal",
        "downloads": 4,
        "sidecars": True,
        "sync_minutes": 30,
        "trust_days": 60,
        "page_size": 200,
    }


def test_an_icloud_destination_is_off_and_has_these_defaults(home: Path) -> None:
    settings = load(home, destinations={"icloud": {}})
    assert settings.icloud_destinations["icloud"].model_dump() == {
        "kind": "icloud",
        "enabled": False,
        "account": "icloud",
        "deliver": "rendition",
        "on_new_rendition": "keep",
        "accept": ["jpeg"],
        "missing_only": True,
    }


def test_an_entry_that_does_not_say_its_kind_is_a_folder_or_an_archive_and_one_called_icloud_is_icloud(
    home: Path,
) -> None:
    write(
        home,
        f"[sources.pics]\npath = '/pics'\n[sources.icloud]\napple_id = '{ME}'\n"
        "[destinations.nas]\npath = '/nas'\n[destinations.icloud]\n",
    )
    settings = load(home)
    assert {name: type(entry) for name, entry in settings.sources.items()} == {
        "pics": FolderSource,
        "icloud": ICloudSource,
    }
    assert {name: type(entry) for name, entry in settings.destinations.items()} == {
        "nas": ArchiveDestination,
        "icloud": ICloudDestination,
    }
    assert (list(settings.folder_sources), list(settings.icloud_sources)) == (["pics"], ["icloud"])
    assert (list(settings.archives), list(settings.icloud_destinations)) == (["nas"], ["icloud"])


def test_a_folder_or_an_archive_that_is_called_icloud_stays_what_it_was(home: Path) -> None:
    write(home, "[sources.icloud]\npath = '/pics/iCloud'\n[destinations.icloud]\npath = '/mnt/icloud'\n")
    settings = load(home)
    assert settings.folder_sources["icloud"].path == Path("/pics/iCloud")
    assert settings.archives["icloud"].path == Path("/mnt/icloud")


def test_the_kind_may_be_told_by_another_layer_than_the_rest(home: Path) -> None:
    write(home, "[sources.phone]\nkind = 'icloud'\n")
    settings = load(home, {"MEDIAPIPE_SOURCES__PHONE__APPLE_ID": ME}, sources={"phone": {"downloads": 2}})
    assert (icloud(settings, "phone").apple_id, icloud(settings, "phone").downloads) == (ME, 2)
    write(home, f"[sources.phone]\napple_id = '{ME}'\n")
    assert icloud(load(home, {"MEDIAPIPE_SOURCES__PHONE__KIND": "icloud"}), "phone").apple_id == ME


def test_settings_with_both_kinds_can_be_sent_to_a_worker_and_shown(home: Path) -> None:
    write(home, "[sources.pics]\npath = '/pics'\n[destinations.icloud]\n")
    settings = load(home, APPLE_ID)
    assert pickle.loads(pickle.dumps(settings)) == settings
    shown = settings.masked()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["sources.pics.kind"]["value"] == "folder"
    assert shown["sources.icloud.kind"] == {"value": "icloud", "from": "default", "name": ""}
    assert shown["destinations.icloud.accept"]["value"] == ["jpeg"]


# --- the archive that is there by default


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_setting_only_icloud_leaves_the_default_archive_where_it_is(home: Path, enabled: str) -> None:
    settings = load(home, APPLE_ID | {"MEDIAPIPE_DESTINATIONS__ICLOUD__ENABLED": enabled})
    assert settings.archives["archive"] == load(home).archives["archive"]
    assert settings.archives["archive"].path == home / "archive"
    assert settings.archives["archive"].enabled


def test_a_destinations_table_without_an_entry_names_no_other_archive(home: Path) -> None:
    write(home, "[destinations]\n")
    assert list(load(home).archives) == ["archive"]


def test_another_archive_takes_the_place_of_the_default_one(home: Path) -> None:
    write(home, "[destinations.icloud]\n[destinations.nas]\npath = '/nas'\n")
    assert list(load(home).archives) == ["nas"]
    write(home, "[destinations.archive]\n[destinations.nas]\npath = '/nas'\n")
    assert list(load(home).archives) == ["archive", "nas"]


def test_the_default_archive_can_be_switched_off(home: Path) -> None:
    settings = load(home, {"MEDIAPIPE_DESTINATIONS__ARCHIVE__ENABLED": "false"}, destinations={"icloud": {}})
    assert {name: entry.enabled for name, entry in settings.archives.items()} == {"archive": False}


def test_only_an_archive_may_be_called_archive(home: Path) -> None:
    assert "destinations.archive.kind" in refusal(home, destinations={"archive": {"kind": "icloud"}})


# --- what is wrong is said in words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sources.p]\nkind = 'icould'\n", "sources.p.kind = \"icould\": must be 'folder' or 'icloud'"),
        ("[sources.p]\nkind = 5\npath = '/p'\n", "sources.p.kind = 5: must be 'folder' or 'icloud'"),
        ("[destinations.d]\nkind = 'nas'\n", "destinations.d.kind = \"nas\": must be 'archive', 'icloud' or 'pixel'"),
        ("[sources.icloud]\n", "sources.icloud.apple_id: is required and was not given"),
        ("[sources.icloud]\napple_id = ' '\n", "sources.icloud.apple_id: is required and was not given"),
        (
            "[sources.icloud]\napple_id = 'me'\n",
            'sources.icloud.apple_id = "me": must be the address of an Apple account, such as name@example.com',
        ),
        ("[sources.pics]\n", "sources.pics.path: is required and was not given"),
        ("[sources]\npics = '/pics'\n", 'sources.pics = "/pics": must be a table'),
        ("[sources]\nicloud = 5\n", "sources.icloud = 5: must be a table"),
        ("[sources.I]\nkind = 'icloud'\naccount = 'x'\n", "sources.I: the name must be 1 to 40 characters of a-z, 0-9"),
        ("[destinations.icloud]\naccept = ['gif']\n", 'accept = ["gif"]: may hold only jpeg, heic, png, mov, mp4'),
        ("[destinations.icloud]\naccept = []\n", "destinations.icloud.accept = []: must not be empty"),
        (
            "[destinations.icloud]\non_new_rendition = 'replace'\n",
            "destinations.icloud.on_new_rendition = \"replace\": must be 'keep'",
        ),
    ],
)
def test_a_wrong_value_is_named_by_its_key_without_the_kind_within(home: Path, text: str, said: str) -> None:
    write(home, text)
    message = refusal(home)
    assert said in message
    assert message.startswith(f"{home}/mediapipe.toml: ")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("downloads", 0, "at least 1"),
        ("downloads", 17, "at most 16"),
        ("sync_minutes", 4, "at least 5"),
        ("trust_days", 0, "at least 1"),
        ("trust_days", 366, "at most 365"),
        ("page_size", 9, "at least 10"),
        ("page_size", 201, "at most 200"),
    ],
)
def test_numbers_of_icloud_have_bounds(home: Path, key: str, value: int, allowed: str) -> None:
    env = APPLE_ID | {f"MEDIAPIPE_ICLOUD__{key.upper()}": str(value)}
    assert refusal(home, env) == (
        f'MEDIAPIPE_ICLOUD__{key.upper()}: sources.icloud.{key} = "{value}": must be {allowed}'
    )


@pytest.mark.parametrize(
    ("text", "key", "kind", "nearest"),
    [
        ("[sources.icloud]\nappleid = 'x'\n", "sources.icloud.appleid", ICloudSource, "apple_id"),
        ("[sources.phone]\nkind = 'icloud'\npasword = ''\n", "sources.phone.pasword", ICloudSource, "password"),
        ("[sources.phone]\nkind = 'icloud'\npath = '/p'\n", "sources.phone.path", ICloudSource, None),
        ("[sources.pics]\npasswrd = 'x'\n", "sources.pics.passwrd", FolderSource, "path"),
        ("[sources.pics]\ndownloads = 4\n", "sources.pics.downloads", FolderSource, None),
        ("[destinations.icloud]\nacept = ['png']\n", "destinations.icloud.acept", ICloudDestination, "accept"),
        ("[destinations.nas]\nacept = ['png']\n", "destinations.nas.acept", ArchiveDestination, None),
    ],
)
def test_an_unknown_key_names_the_nearest_of_the_entrys_own_kind(
    home: Path, text: str, key: str, kind: type[BaseModel], nearest: str | None
) -> None:
    write(home, text)
    said, _, named = refusal(home).partition("; the nearest is ")
    entry, _, field = named.rpartition(".")
    assert said == f"{home}/mediapipe.toml: {key} is no setting"
    assert entry == key.rpartition(".")[0]
    assert field in kind.model_fields
    assert nearest in (None, field)


def test_a_variable_of_another_kind_is_no_setting_and_names_itself(home: Path) -> None:
    write(home, "[sources.pics]\npath = '/pics'\n")
    for variable in ("MEDIAPIPE_SOURCES__PICS__PASSWORD", "MEDIAPIPE_SOURCES__PICS__APPLE_ID"):
        assert refusal(home, {variable: SECRET}).startswith(f"the environment variable {variable} is no setting; ")


def test_a_secret_file_for_a_folder_is_no_setting(home: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    write(home, "[sources.pics]\npath = '/pics'\n")
    message = refusal(home, {"MEDIAPIPE_SOURCES__PICS__PASSWORD_FILE": str(tmp_path / "secret")})
    assert message.startswith("the environment variable MEDIAPIPE_SOURCES__PICS__PASSWORD_FILE is no setting; ")


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("MEDIAPIPE_ICLOUD__APLE_ID", "MEDIAPIPE_ICLOUD__APPLE_ID"),
        ("MEDIAPIPE_ICLOD__APPLE_ID", "MEDIAPIPE_ICLOUD__APPLE_ID"),
        ("MEDIAPIPE_ICLOUD__PASSWORDFILE", "MEDIAPIPE_ICLOUD__PASSWORD"),
        ("MEDIAPIPE_SOURCES__ICLOUD__APLE_ID", "MEDIAPIPE_SOURCES__ICLOUD__APPLE_ID"),
        ("MEDIAPIPE_ICLOUD__APPLE_ID_FILE", "MEDIAPIPE_ICLOUD__APPLE_ID"),
    ],
)
def test_an_unknown_variable_names_the_nearest_in_the_spelling_that_was_used(
    home: Path, variable: str, nearest: str
) -> None:
    assert refusal(home, {variable: "x"}) == (
        f"the environment variable {variable} is no setting; the nearest is {nearest}"
    )


def test_the_docs_name_each_key_once_and_tell_the_kinds_apart() -> None:
    rows = {key: row for key, *row in describe()}
    assert len(rows) == len(describe())
    assert rows["sources.<name>.kind"][:2] == ["`folder` or `icloud`", "`folder`; `icloud` for `icloud`"]
    assert rows["sources.<name>.path"][2].startswith("`folder`: The folder")
    assert rows["sources.<name>.password"][0] == "secret"
    assert rows["destinations.<name>.enabled"][:2] == ["true or false", "`true`; `icloud`: `false`"]
    assert rows["destinations.<name>.deliver"] == [
        "`original` or `rendition` or `both`",
        "`both`; `icloud`: `rendition`; `pixel`: `original`",
        "What is delivered.",
    ]
    assert rows["destinations.<name>.accept"][1] == "`jpeg`"


# --- accounts


def test_a_shared_library_uses_the_sign_in_of_another_source(home: Path) -> None:
    shared = {"family": {"kind": "icloud", "account": "icloud", "library": "shared"}}
    settings = load(home, APPLE_ID, sources=shared)
    assert (icloud(settings, "family").apple_id, icloud(settings, "family").account) == ("", "icloud")


@pytest.mark.parametrize("account", ["nobody", "family", "pics", "third"])
def test_an_account_must_be_a_source_with_an_apple_id_of_its_own(home: Path, account: str) -> None:
    write(
        home,
        f"[sources.family]\nkind = 'icloud'\naccount = '{account}'\nlibrary = 'shared'\n"
        "[sources.third]\nkind = 'icloud'\naccount = 'icloud'\nenabled = false\n[sources.pics]\npath = '/pics'\n",
    )
    assert refusal(home, APPLE_ID) == (
        f'sources.family.account = "{account}": must be the name of an iCloud source with an apple_id of its own; '
        "there is icloud"
    )


@pytest.mark.parametrize(("field", "value"), [("apple_id", "other@example.com"), ("password", SECRET)])
def test_a_sign_in_of_its_own_beside_that_of_another_source_is_refused(home: Path, field: str, value: str) -> None:
    family = {"MEDIAPIPE_SOURCES__FAMILY__KIND": "icloud", "MEDIAPIPE_SOURCES__FAMILY__ACCOUNT": "icloud"}
    message = refusal(home, APPLE_ID | family | {f"MEDIAPIPE_SOURCES__FAMILY__{field.upper()}": value})
    assert f"sources.family.{field} and sources.family.account are both set" in message


def test_an_icloud_destination_that_is_on_needs_a_source_to_sign_in_with(home: Path) -> None:
    on = {"icloud": {"enabled": True}}
    assert refusal(home, destinations=on) == (
        'destinations.icloud.account = "icloud": must be the name of an iCloud source with an apple_id of its own; '
        "none is set; MEDIAPIPE_ICLOUD__APPLE_ID makes one"
    )
    assert load(home, APPLE_ID, destinations=on).icloud_destinations["icloud"].enabled
    assert "destinations.icloud.account" in refusal(
        home, APPLE_ID, destinations={"icloud": {"enabled": True, "account": "me"}}
    )
    off = APPLE_ID | {"MEDIAPIPE_ICLOUD__ENABLED": "false"}
    assert load(home, off, destinations=on), "what is not taken in from may still be sent to"


@pytest.mark.parametrize("apple_id", [ME, "ME@Example.com "])
def test_a_library_is_taken_in_only_once(home: Path, apple_id: str) -> None:
    again = {"kind": "icloud", "apple_id": apple_id}
    assert refusal(home, APPLE_ID, sources={"again": again}) == (
        f"sources.icloud and sources.again are both the personal library of {apple_id.strip()}: each photo would be "
        "taken in twice; keep one of them"
    )
    same_sign_in = {"kind": "icloud", "account": "icloud"}
    assert "both the personal library" in refusal(home, APPLE_ID, sources={"again": same_sign_in})
    load(home, APPLE_ID, sources={"again": again | {"library": "shared"}})
    load(home, APPLE_ID, sources={"again": again | {"enabled": False}})


# --- the shorthand


def test_every_field_of_the_source_called_icloud_has_a_short_variable(home: Path) -> None:
    env = APPLE_ID | {
        "MEDIAPIPE_ICLOUD__PASSWORD": SECRET,
        "MEDIAPIPE_ICLOUD__ENABLED": "false",
        "MEDIAPIPE_ICLOUD__SIDECARS": "no",
        "MEDIAPIPE_ICLOUD__DOWNLOADS": "8",
        "MEDIAPIPE_ICLOUD__LIBRARY": "shared",
    }
    settings = load(home, env)
    assert icloud(settings).model_dump(include={"apple_id", "enabled", "sidecars", "downloads", "library"}) == {
        "apple_id": ME,
        "enabled": False,
        "sidecars": False,
        "downloads": 8,
        "library": "shared",
    }
    assert password(settings) == SECRET
    shown = settings.masked()
    assert shown["sources.icloud.apple_id"] == {
        "value": ME,
        "from": "environment",
        "name": "MEDIAPIPE_ICLOUD__APPLE_ID",
    }
    assert shown["sources.icloud.password"] == {
        "value": "********",
        "from": "environment",
        "name": "MEDIAPIPE_ICLOUD__PASSWORD",
    }


def test_the_short_and_the_long_variables_are_joined(home: Path) -> None:
    settings = load(home, APPLE_ID | {"MEDIAPIPE_SOURCES__ICLOUD__DOWNLOADS": "8"})
    assert (icloud(settings).apple_id, icloud(settings).downloads) == (ME, 8)
    assert settings.masked()["sources.icloud.downloads"]["name"] == "MEDIAPIPE_SOURCES__ICLOUD__DOWNLOADS"
    assert load(home, APPLE_ID | {"MEDIAPIPE_SOURCES__ICLOUD__APPLE_ID": ME})


@pytest.mark.parametrize(
    "long",
    [
        {"MEDIAPIPE_SOURCES__ICLOUD__APPLE_ID": "you@example.com"},
        {"MEDIAPIPE_SOURCES__ICLOUD": '{"apple_id": "you@example.com"}'},
        {"MEDIAPIPE_SOURCES": '{"icloud": {"apple_id": "you@example.com"}}'},
        {"MEDIAPIPE_SOURCES__ICLOUD": '{"apple_id": "you@example.com'},
    ],
)
def test_both_spellings_with_different_values_are_refused_by_their_names(home: Path, long: dict[str, str]) -> None:
    assert refusal(home, APPLE_ID | long) == (
        f"{next(iter(long))} and MEDIAPIPE_ICLOUD__APPLE_ID are both set, to different values: keep one of them"
    )


def test_a_whole_table_as_json_and_single_variables_are_joined_in_any_order(home: Path) -> None:
    table = {"MEDIAPIPE_ICLOUD": json.dumps({"apple_id": ME, "downloads": 8})}
    single = {"MEDIAPIPE_ICLOUD__PASSWORD": SECRET}
    for env in (table | single, single | table):
        assert (icloud(load(home, env)).downloads, password(load(home, env))) == (8, SECRET)


# --- the password


def test_a_password_comes_from_its_variable_a_file_or_a_credential_for_any_name(home: Path, tmp_path: Path) -> None:
    write(home, f"[sources.phone]\nkind = 'icloud'\napple_id = '{ME}'\n")
    for name in ("sources_phone_password", "elsewhere"):
        (tmp_path / name).write_text(SECRET + "\n")
    for env, origin in (
        ({"MEDIAPIPE_SOURCES__PHONE__PASSWORD": SECRET}, "environment"),
        ({"MEDIAPIPE_SOURCES__PHONE__PASSWORD_FILE": str(tmp_path / "elsewhere")}, "environment"),
        ({"CREDENTIALS_DIRECTORY": str(tmp_path)}, "credential"),
    ):
        settings = load(home, env)
        assert password(settings, "phone") == SECRET
        assert SECRET not in json.dumps(settings.masked()) + repr(settings) + str(settings)
        shown = settings.masked()["sources.phone.password"]
        assert (shown["value"], shown["from"]) == ("********", origin)
        named = shown["name"]
        assert named in (*env, str(tmp_path / "sources_phone_password"))


@pytest.mark.parametrize("credential", ["icloud_password", "sources_icloud_password"])
def test_the_source_called_icloud_has_a_credential_by_either_name(home: Path, tmp_path: Path, credential: str) -> None:
    (tmp_path / credential).write_text(SECRET)
    settings = load(home, APPLE_ID | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert password(settings) == SECRET
    assert settings.masked()["sources.icloud.password"]["name"] == str(tmp_path / credential)


def test_two_credentials_that_differ_are_refused_by_their_names(home: Path, tmp_path: Path) -> None:
    (tmp_path / "icloud_password").write_text(SECRET)
    (tmp_path / "sources_icloud_password").write_text(SECRET)
    env = APPLE_ID | {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert password(load(home, env)) == SECRET
    (tmp_path / "icloud_password").write_text(f"another {SECRET}")
    message = refusal(home, env)
    assert "icloud_password" in message and "sources_icloud_password" in message and "keep one" in message


def test_a_credential_without_a_source_of_its_name_is_somebody_elses(home: Path, tmp_path: Path) -> None:
    (tmp_path / "sources_pics_password").write_text(SECRET)
    (tmp_path / "icloud_password").write_text(SECRET)
    write(home, "[sources.pics]\npath = '/pics'\n")
    assert list(load(home, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).sources) == ["pics"]


@pytest.mark.parametrize("file", ["MEDIAPIPE_ICLOUD__PASSWORD_FILE", "MEDIAPIPE_SOURCES__ICLOUD__PASSWORD_FILE"])
def test_a_password_file_may_be_named_by_either_spelling(home: Path, tmp_path: Path, file: str) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    settings = load(home, APPLE_ID | {file: str(tmp_path / "secret")})
    assert password(settings) == SECRET
    assert settings.masked()["sources.icloud.password"] == {"value": "********", "from": "environment", "name": file}


@pytest.mark.parametrize("plain", ["MEDIAPIPE_ICLOUD__PASSWORD", "MEDIAPIPE_SOURCES__ICLOUD__PASSWORD"])
@pytest.mark.parametrize("file", ["MEDIAPIPE_ICLOUD__PASSWORD_FILE", "MEDIAPIPE_SOURCES__ICLOUD__PASSWORD_FILE"])
def test_a_password_and_its_file_together_are_refused_whichever_the_spelling(
    home: Path, tmp_path: Path, plain: str, file: str
) -> None:
    (tmp_path / "secret").write_text(SECRET)
    env = APPLE_ID | {plain: SECRET, file: str(tmp_path / "secret")}
    assert refusal(home, env) == f"{plain} and {file} are both set: keep one of them"


def test_a_password_file_that_is_missing_or_empty_is_named(home: Path, tmp_path: Path) -> None:
    env = APPLE_ID | {"MEDIAPIPE_ICLOUD__PASSWORD_FILE": str(tmp_path / "secret")}
    assert "MEDIAPIPE_ICLOUD__PASSWORD_FILE" in refusal(home, env)
    (tmp_path / "secret").write_text("\n")
    assert "is empty" in refusal(home, env)


@pytest.mark.parametrize(
    ("name", "variable"),
    [("icloud", "MEDIAPIPE_ICLOUD__PASSWORD"), ("phone", "MEDIAPIPE_SOURCES__PHONE__PASSWORD")],
)
def test_a_password_in_the_settings_file_is_refused_without_repeating_it(home: Path, name: str, variable: str) -> None:
    write(home, f"[sources.{name}]\nkind = 'icloud'\napple_id = '{ME}'\npassword = '{SECRET}'\n")
    assert refusal(home) == (
        f"{home}/mediapipe.toml: sources.{name}.password holds a password, which does not belong in a file that is "
        f"shown and copied: put it into {variable}, or into a file of its own that {variable}_FILE names"
    )


def test_an_empty_password_is_none_at_all(home: Path) -> None:
    write(home, f"[sources.icloud]\napple_id = '{ME}'\npassword = ''\n")
    assert icloud(load(home)).password is None
    assert load(home).masked()["sources.icloud.password"]["value"] is None


@pytest.mark.parametrize(
    "env",
    [
        {"MEDIAPIPE_SOURCES": f'{{"icloud": {{"password": "{SECRET}"'},
        {"MEDIAPIPE_SOURCES__ICLOUD": f'{{"password": "{SECRET}"'},
        {"MEDIAPIPE_ICLOUD": SECRET},
        {"MEDIAPIPE_ICLOUD": f'["{SECRET}"]'},
        {"MEDIAPIPE_ICLOUD": f'{{"password": "{SECRET}"}}'},
        {"MEDIAPIPE_ICLOUD": f'{{"password": ["{SECRET}"]}}'},
        {"MEDIAPIPE_ICLOUD": f'{{"password": {{"x": "{SECRET}"}}}}'},
        {"MEDIAPIPE_ICLOUD": f'{{"kind": "x", "password": "{SECRET}"}}'},
        {"MEDIAPIPE_ICLOUD": f'{{"kind": "folder", "password": "{SECRET}"}}'},
        {"MEDIAPIPE_SOURCES": f'{{"A.b": {{"kind": "icloud", "password": ["{SECRET}"]}}}}'},
        {"MEDIAPIPE_SOURCES": f'[{{"password": "{SECRET}"}}]'},
        {"MEDIAPIPE_ICLOUD__PASWORD": SECRET},
        {"MEDIAPIPE_ICLOUD__PASSWORD__X": SECRET},
        {"MEDIAPIPE_ICLOUD__PASSWORD": SECRET, "MEDIAPIPE_ICLOUD__APPLE_ID": "x"},
    ],
)
def test_no_refusal_repeats_a_password(home: Path, env: dict[str, str]) -> None:
    assert refusal(home, env)  # which looks for it


# --- what knows only folders goes on beside iCloud


def test_the_chain_of_folders_is_the_same_beside_icloud(home: Path, tmp_path: Path) -> None:
    def chain(settings: Settings) -> list[Any]:
        platform = Platform(settings, cast(Engine, None))
        folders = [name for name in platform.destinations if name != "icloud"]
        return [platform.roots, platform.sources, folders, platform.originals]

    pics = {"pics": {"path": tmp_path / "pics"}}
    alone = load(home, sources=pics)
    beside = load(home, APPLE_ID, sources=pics, destinations={"icloud": {"enabled": True}})
    assert chain(beside) == chain(alone)


def test_a_folder_can_be_added_beside_icloud_and_is_never_called_icloud(home: Path, tmp_path: Path) -> None:
    assert add_source(home, tmp_path / "iCloud", environ=APPLE_ID) == "icloud_2"
    assert add_source(home, tmp_path / "iCloud", environ=APPLE_ID) == "icloud_2"
    assert set(load(home, APPLE_ID).sources) == {"icloud", "icloud_2"}


def test_no_source_may_hold_the_sessions_of_icloud(home: Path) -> None:
    assert "overlaps home/icloud" in refusal(home, sources={"p": {"path": home / "icloud" / "me"}})


def test_a_sample_does_not_mix_with_icloud(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    from mediapipe_assets.cli.sample import prepare_sample

    monkeypatch.setenv("MEDIAPIPE_HOME", str(home))
    monkeypatch.setenv("MEDIAPIPE_ICLOUD__APPLE_ID", ME)
    with pytest.raises(click.UsageError, match="iCloud"):
        prepare_sample()
