"""The settings: what holds when several layers speak, and what is said when a layer is wrong."""

from __future__ import annotations

import json
import os
import pickle
import tomllib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from media.tiers import DEFAULT_TIERS
from resources.settings import Settings, SettingsError, describe, home_folder, load_settings
from resources.settings_file import add_source, record_first_start

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"
SECRET = "hunter2-correct-horse"


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
    return str(caught.value)


# --- layers


def test_without_any_layer_the_defaults_hold(home: Path) -> None:
    settings = load(home)
    assert settings.timezone == "UTC"
    assert settings.start_date == date(1990, 1, 1)
    assert settings.database_url is None
    assert settings.sources == {}
    assert list(settings.destinations) == ["archive"]
    assert settings.destinations["archive"].path == home / "archive"
    assert settings.roots.originals == home / "originals"
    assert settings.compression.plan_tiers() == list(DEFAULT_TIERS)


def test_each_layer_overrules_the_one_below(home: Path) -> None:
    assert load(home).web.port == 3000
    write(home, "[web]\nport = 3001\n")
    assert load(home).web.port == 3001
    env = {"MEDIAPIPE_WEB__PORT": "3002"}
    assert load(home, env).web.port == 3002
    assert load(home, env, web={"port": 3003}).web.port == 3003


def test_layers_that_set_different_keys_of_one_section_are_joined(home: Path) -> None:
    write(home, "[runs]\ntier_hour = 4\n[sources.pics]\npath = '/pics'\n")
    settings = load(home, {"MEDIAPIPE_SOURCES__PICS__MODE": "reference"}, runs={"max_attempts": 2})
    assert (settings.runs.tier_hour, settings.runs.max_attempts) == (4, 2)
    assert (settings.sources["pics"].path, settings.sources["pics"].mode) == (Path("/pics"), "reference")


@given(
    layers=st.lists(st.none() | st.integers(1, 65_535), min_size=3, max_size=3),
)
@hypothesis_settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_highest_layer_that_speaks_is_the_one_that_counts(home: Path, layers: list[int | None]) -> None:
    in_file, in_environment, given_now = layers
    write(home, "" if in_file is None else f"[web]\nport = {in_file}\n")
    env = {} if in_environment is None else {"MEDIAPIPE_WEB__PORT": str(in_environment)}
    settings = load(home, env, web={"port": given_now})
    spoken = [value for value in (given_now, in_environment, in_file, 3000) if value is not None]
    origins = [
        name for name, value in zip(("command line", "environment", "file"), reversed(layers), strict=True) if value
    ]
    assert settings.web.port == spoken[0]
    assert settings.masked()["web.port"]["from"] == [*origins, "default"][0]


def test_the_environment_and_the_file_are_read_at_every_call(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(home).web.port == 3000
    monkeypatch.setenv("MEDIAPIPE_WEB__PORT", "4000")
    assert load_settings(home).web.port == 4000


def test_an_empty_variable_and_a_missing_option_count_as_not_given(home: Path) -> None:
    write(home, "timezone = 'Europe/Berlin'\n")
    assert load(home, {"MEDIAPIPE_TIMEZONE": ""}, timezone=None).timezone == "Europe/Berlin"


def test_lists_in_the_environment_are_comma_separated_or_json(home: Path) -> None:
    env = {"MEDIAPIPE_SOURCES__P__PATH": "/p", "MEDIAPIPE_SOURCES__P__INCLUDE": "*.jpg, *.mov"}
    assert load(home, env).sources["p"].include == ["*.jpg", "*.mov"]
    env["MEDIAPIPE_SOURCES__P__INCLUDE"] = '["a,b.jpg"]'
    assert load(home, env).sources["p"].include == ["a,b.jpg"]


def test_variables_that_are_ours_but_no_settings_are_let_pass(home: Path) -> None:
    load(home, {"MEDIAPIPE_HOME": "/elsewhere", "MEDIAPIPE_DAGSTER_URL": "x", "MEDIAPIPE_CORPUS": "y", "OTHER": "z"})


def test_the_home_is_the_given_one_then_the_variable_then_the_data_folder() -> None:
    env = {"HOME": "/u", "XDG_DATA_HOME": "/data", "MEDIAPIPE_HOME": "/env"}
    assert home_folder(Path("/given"), env) == Path("/given")
    assert home_folder(None, env) == Path("/env")
    assert home_folder(None, env | {"MEDIAPIPE_HOME": ""}) == Path("/data/mediapipe-assets")
    assert home_folder(None, {"HOME": "/u"}) == Path("/u/.local/share/mediapipe-assets")


# --- folders


def test_relative_roots_are_relative_to_the_home_and_a_tilde_is_expanded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/u")
    write(
        home, "[roots]\noriginals = 'disk/originals'\nlibrary = '~/Photos'\n[destinations.archive]\npath = '/mnt/a'\n"
    )
    settings = load(home)
    assert settings.roots.originals == home / "disk" / "originals"
    assert settings.roots.library == Path("/u/Photos")
    assert settings.destinations["archive"].path == Path("/mnt/a")


def test_a_relative_source_is_refused_in_the_file_and_taken_from_the_command_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(home, sources={"p": {"path": "pics"}}).sources["p"].path == tmp_path / "pics"
    write(home, "[sources.p]\npath = 'pics'\n")
    assert "sources.p.path" in refusal(home) and "absolute" in refusal(home)


@pytest.mark.parametrize("where", ["home", "home/originals/x", "home/archive", ".", "link"])
def test_a_source_that_overlaps_what_we_write_is_refused(home: Path, tmp_path: Path, where: str) -> None:
    (tmp_path / "link").symlink_to(home)
    message = refusal(home, sources={"p": {"path": tmp_path / where}})
    assert "sources.p.path" in message and "overlaps" in message


def test_a_disabled_source_may_overlap(home: Path) -> None:
    load(home, sources={"p": {"path": home, "enabled": False}})


def test_two_of_our_folders_may_not_hold_each_other(home: Path) -> None:
    message = refusal(home, roots={"trash": "originals/trash"})
    assert "roots.originals" in message and "roots.trash" in message
    assert "destinations.nas.path" in refusal(home, destinations={"nas": {"path": "library"}})


def test_a_destination_other_than_archive_needs_a_path(home: Path) -> None:
    write(home, "[destinations.nas]\n")
    assert "destinations.nas.path: is required" in refusal(home)


# --- what is wrong is said in words


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("[compresion]\nmin_saving = 0.2\n", "compresion", "compression"),
        ("[compression]\nmin_savings = 0.2\n", "compression.min_savings", "compression.min_saving"),
        ("min_saving = 0.2\n", "min_saving", "compression.min_saving"),
        ("[sources.pics]\npth = '/p'\n", "sources.pics.pth", "sources.pics.path"),
        (
            "[[compression.tiers]]\nname = 'a'\nafter = 0\n",
            "compression.tiers[0].after",
            "compression.tiers[].after_days",
        ),
    ],
)
def test_an_unknown_key_in_the_file_names_the_file_the_key_and_the_nearest(
    home: Path, text: str, key: str, nearest: str
) -> None:
    write(home, text)
    assert refusal(home) == f"{home}/mediapipe.toml: {key} is no setting; the nearest is {nearest}"


def test_an_unknown_variable_names_itself_and_the_nearest(home: Path) -> None:
    assert refusal(home, {"MEDIAPIPE_COMPRESSION__MIN_SAVNG": "1"}) == (
        "the environment variable MEDIAPIPE_COMPRESSION__MIN_SAVNG is no setting; "
        "the nearest is MEDIAPIPE_COMPRESSION__MIN_SAVING"
    )
    for later in ("TELEGRAM__CHAT", "SYNCTHING__URI", "SUPABASE__URL", "NOTIFY__ON"):
        assert f"MEDIAPIPE_{later} is no setting" in refusal(home, {f"MEDIAPIPE_{later}": "x"})
    assert "MEDIAPIPE_SOURCES__PICS__PTH" in refusal(home, {"MEDIAPIPE_SOURCES__PICS__PTH": "x"})
    assert "pth is no setting" in refusal(home, {"MEDIAPIPE_SOURCES": '{"pics": {"pth": "/p"}}'})


def test_the_home_cannot_be_moved_from_within(home: Path) -> None:
    write(home, "home = '/elsewhere'\n")
    assert "MEDIAPIPE_HOME" in refusal(home)


def test_several_faults_are_named_at_once_each_with_what_is_allowed(home: Path) -> None:
    write(home, "[sources.Pics]\npath = '/p'\nmode = 'move'\n[library]\ntemplate = '{year}/{camera}'\n")
    env = {"MEDIAPIPE_RUNS__TIER_HOUR": "25", "MEDIAPIPE_TIMEZONE": "Mars/Base", "MEDIAPIPE_COMPUTE__WORKERS": "many"}
    message = refusal(home, env, web={"host": "0.0.0.0"})
    for part in (
        "7 settings",
        'MEDIAPIPE_RUNS__TIER_HOUR: runs.tier_hour = "25": must be at most 23',
        'MEDIAPIPE_TIMEZONE: timezone = "Mars/Base": must be a time zone',
        'MEDIAPIPE_COMPUTE__WORKERS: compute.workers = "many": must be a whole number',
        "sources.Pics: the name must be 1 to 40 characters of a-z",
        'command line: web.host = "0.0.0.0": the web UI has no login',
        f"{home}/mediapipe.toml: library.template",
    ):
        assert part in message


def test_a_wrong_choice_says_which_there_are(home: Path) -> None:
    write(home, "[sources.p]\npath = '/p'\nmode = 'move'\n")
    assert "sources.p.mode = \"move\": must be 'copy' or 'reference'" in refusal(home)


def test_a_file_that_is_not_toml_or_cannot_be_read_is_named(home: Path) -> None:
    write(home, "port = = 3")
    assert f"{home}/mediapipe.toml is not valid TOML" in refusal(home)
    (home / "mediapipe.toml").unlink()
    (home / "mediapipe.toml").mkdir()
    assert "cannot be read" in refusal(home)


@pytest.mark.parametrize(
    "template", ["{year}", "/{name}", "../{name}", "{year}//{name}", "{name!r}", "{day:>5}/{name}", "{", "{0}/{name}"]
)
def test_a_template_that_would_mix_or_misplace_files_is_refused(home: Path, template: str) -> None:
    assert "library.template" in refusal(home, library={"template": template})


def test_tiers_begin_at_zero_and_rise_and_have_names_of_their_own(home: Path) -> None:
    def tiers(*days: int, name: str = "") -> dict[str, object]:
        return {"tiers": [{"name": name or f"t{day}", "after_days": day} for day in days]}

    assert "first tier" in refusal(home, compression=tiers(10))
    assert "must rise" in refusal(home, compression=tiers(0, 5, 5))
    assert "same name" in refusal(home, compression=tiers(0, 5, name="x"))
    assert "must not be empty" in refusal(home, compression={"tiers": []})
    settings = load(home, compression={**tiers(0, 5), "min_saving": 0.25})
    assert [tier.plan.min_saving for tier in settings.compression.plan_tiers()] == [0.25, 0.25]


# --- secrets


def test_a_secret_comes_from_the_variable_a_file_or_a_credential(home: Path, tmp_path: Path) -> None:
    url = f"postgresql://me:{SECRET}@db/photos"
    for name in ("database_url", "elsewhere"):
        (tmp_path / name).write_text(url + "\n")
    for env in (
        {"MEDIAPIPE_DATABASE_URL": url},
        {"MEDIAPIPE_DATABASE_URL_FILE": str(tmp_path / "elsewhere")},
        {"CREDENTIALS_DIRECTORY": str(tmp_path)},
    ):
        settings = load(home, env)
        assert settings.database_url is not None and settings.database_url.get_secret_value() == url
        assert SECRET not in json.dumps(settings.masked()) + repr(settings) + str(settings)
        assert settings.masked()["database_url"]["value"] == "********"


def test_a_variable_and_its_file_variant_together_are_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://db/x")
    env = {"MEDIAPIPE_DATABASE_URL": "postgresql://db/y", "MEDIAPIPE_DATABASE_URL_FILE": str(tmp_path / "url")}
    assert "keep one" in refusal(home, env)


def test_a_secret_file_that_is_missing_or_empty_is_named(home: Path, tmp_path: Path) -> None:
    env = {"MEDIAPIPE_DATABASE_URL_FILE": str(tmp_path / "url")}
    assert "MEDIAPIPE_DATABASE_URL_FILE" in refusal(home, env)
    (tmp_path / "url").write_text("\n")
    assert "is empty" in refusal(home, env)


@pytest.mark.parametrize("url", [f"postgresql://me:{SECRET}@db/x", f"postgresql://db/x?user=me&password={SECRET}"])
def test_a_password_in_the_settings_file_is_refused_without_repeating_it(home: Path, url: str) -> None:
    write(home, f'database_url = "{url}"\n')
    message = refusal(home)
    assert "MEDIAPIPE_DATABASE_URL_FILE" in message and SECRET not in message


def test_a_database_url_without_a_password_may_stand_in_the_file(home: Path) -> None:
    write(home, 'database_url = "postgresql://me@db/x"\n')
    assert load(home).masked()["database_url"]["from"] == "file"


def test_a_wrong_secret_is_refused_without_repeating_it(home: Path) -> None:
    message = refusal(home, {"MEDIAPIPE_DATABASE_URL": f"mysql://me:{SECRET}@db/x"})
    assert "PostgreSQL" in message and SECRET not in message


# --- showing


def test_what_is_shown_says_where_each_value_came_from(home: Path) -> None:
    write(home, "[runs]\ntier_hour = 4\n")
    shown = load(home, {"MEDIAPIPE_WEB__PORT": "81"}, timezone="Asia/Tokyo").masked()
    assert shown["runs.tier_hour"] == {"value": 4, "from": "file", "name": f"{home}/mediapipe.toml"}
    assert shown["web.port"] == {"value": 81, "from": "environment", "name": "MEDIAPIPE_WEB__PORT"}
    assert shown["timezone"]["from"] == "command line"
    assert shown["web.host"] == {"value": "127.0.0.1", "from": "default", "name": ""}
    assert json.loads(json.dumps(shown)) == shown


def test_loaded_settings_cannot_be_changed_and_can_be_sent_to_a_worker(home: Path) -> None:
    settings = load(home)
    with pytest.raises(ValueError, match="frozen"):
        settings.web.port = 1
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_every_setting_is_described_and_the_docs_hold_the_same_table() -> None:
    rows = [f"| `{key}` | {kind} | {default} | {words} |" for key, kind, default, words in describe()]
    assert all(words for *_, words in describe())
    assert [line for line in DOCS.read_text("utf-8").splitlines() if line in set(rows)] == rows
    documented = [line.split("|")[1].strip() for line in _first_table(DOCS.read_text("utf-8"))]
    assert documented == [f"`{key}`" for key, *_ in describe()]


def test_the_docs_hold_the_default_tiers() -> None:
    for tier in DEFAULT_TIERS:
        plan = tier.plan
        row = (tier.name, tier.after_days, plan.jpeg_quality, plan.video_crf or "kept", plan.video_codec)
        assert f"| {' | '.join(map(str, row))} |" in DOCS.read_text("utf-8")


def _first_table(text: str) -> list[str]:
    lines = text.partition("<!-- settings -->")[2].partition("<!-- end -->")[0].strip().splitlines()
    return lines[2:]


# --- writing


def test_the_first_source_makes_the_file_and_the_second_time_changes_nothing(home: Path, tmp_path: Path) -> None:
    name = add_source(home, tmp_path / "Bilder 2019 (Köln)", environ={})
    before = (home / "mediapipe.toml").read_bytes()
    assert name == "bilder_2019_koln"
    assert load(home).sources[name].path == tmp_path / "Bilder 2019 (Köln)"
    assert add_source(home, tmp_path / "Bilder 2019 (Köln)", environ={}) == name
    assert (home / "mediapipe.toml").read_bytes() == before


def test_another_folder_of_the_same_name_gets_a_name_of_its_own(home: Path, tmp_path: Path) -> None:
    assert [add_source(home, tmp_path / part / "DCIM", environ={}) for part in "ab"] == ["dcim", "dcim_2"]
    assert set(load(home).sources) == {"dcim", "dcim_2"}


def test_what_a_person_wrote_stays(home: Path, tmp_path: Path) -> None:
    written = "# mine\n[web]\nport = 3001  # not 3000\n\n[sources.old]  # the NAS\npath = '/old'\n"
    write(home, written)
    os.chmod(home / "mediapipe.toml", 0o600)
    add_source(home, tmp_path / "new", environ={})
    record_first_start(home, "Europe/Berlin", date(1995, 1, 1))
    text = (home / "mediapipe.toml").read_text()
    assert all(line in text.splitlines() for line in written.splitlines() if line)
    assert (home / "mediapipe.toml").stat().st_mode & 0o777 == 0o600
    settings = load(home)
    assert set(settings.sources) == {"old", "new"}
    assert (settings.timezone, settings.start_date, settings.web.port) == ("Europe/Berlin", date(1995, 1, 1), 3001)


@pytest.mark.parametrize(
    "text", ["sources = {a = {path = '/a'}}\n", "sources.a.path = '/a'\n", "[sources]\n", "", "# x"]
)
def test_a_source_can_be_added_however_the_file_is_laid_out(home: Path, tmp_path: Path, text: str) -> None:
    write(home, text)
    assert add_source(home, tmp_path / "b", environ={}) == "b"
    assert load(home).sources["b"].path == tmp_path / "b"
    record_first_start(home, "UTC", date(1990, 1, 1))
    assert "timezone" in tomllib.loads((home / "mediapipe.toml").read_text())


def test_a_source_that_would_not_hold_is_refused_and_nothing_is_written(home: Path) -> None:
    with pytest.raises(SettingsError, match="overlaps"):
        add_source(home, home / "originals", environ={})
    assert not (home / "mediapipe.toml").exists()


def test_what_was_recorded_at_the_first_start_stays(home: Path) -> None:
    record_first_start(home, "Europe/Berlin", date(1990, 1, 1))
    record_first_start(home, "Asia/Tokyo", date(2000, 1, 1))
    assert load(home).timezone == "Europe/Berlin"
    assert load(home).start_date == date(1990, 1, 1)


def test_a_link_to_the_settings_file_stays_a_link(home: Path, tmp_path: Path) -> None:
    (tmp_path / "dotfile.toml").write_text("")
    (home / "mediapipe.toml").symlink_to(tmp_path / "dotfile.toml")
    record_first_start(home, "UTC", date(1990, 1, 1))
    assert (home / "mediapipe.toml").is_symlink()
    assert "timezone" in (tmp_path / "dotfile.toml").read_text()


def test_the_settings_know_their_file(tmp_path: Path) -> None:
    assert load_settings(tmp_path, environ={}).file == tmp_path / "mediapipe.toml"
