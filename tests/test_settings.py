"""Settings: which source counts, and what is refused at start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from boxwork.errors import BadInput
from boxwork.settings import KiB, Setting, Settings, merge

SIZE = Setting("content.inline_bytes_max", 16 * KiB, "bytes", "small ones lie in the database")
SHARE = Setting("audit.share", 0.01, "of hits", "how many hits are run again")
QUIET = Setting("log.quiet", False, "", "say less")
LEVEL = Setting("log.level", "info", "", "how much is said")
ALL = (SIZE, SHARE, QUIET, LEVEL)


def merged(tmp_path: Path, toml: str = "", environment: dict[str, str] | None = None, **flags: object) -> Settings:
    file = tmp_path / "boxwork.toml"
    if toml:
        file.write_text(toml, "utf-8")
    named = {name.replace("__", "."): value for name, value in flags.items()}
    return merge(ALL, file=file, environment=environment or {}, flags=named)


def test_what_nobody_sets_has_its_default(tmp_path: Path) -> None:
    settings = merged(tmp_path)
    assert {setting.name: setting.default for setting in ALL} == dict(settings)
    assert {"default"} == {settings.where(name) for name in settings}
    assert len(ALL) == len(settings)


def test_flags_count_more_than_the_environment_than_the_file_than_the_default(tmp_path: Path) -> None:
    toml = "[content]\ninline_bytes_max = 1\n[log]\nlevel = 'file'\nquiet = true\n"
    environment = {"BOXWORK_CONTENT_INLINE_BYTES_MAX": "2", "BOXWORK_LOG_LEVEL": "environment"}
    settings = merged(tmp_path, toml, environment, content__inline_bytes_max=3)
    assert (3, "flag") == (settings["content.inline_bytes_max"], settings.where("content.inline_bytes_max"))
    assert ("environment", "BOXWORK_LOG_LEVEL") == (settings["log.level"], settings.where("log.level"))
    assert (True, str(tmp_path / "boxwork.toml")) == (settings["log.quiet"], settings.where("log.quiet"))
    assert (0.01, "default") == (settings["audit.share"], settings.where("audit.share"))


def test_the_environment_of_the_process_is_the_one_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOXWORK_LOG_QUIET", "on")
    assert merge(ALL).flag("log.quiet")


@pytest.mark.parametrize("word", ["1", "true", "YES", "On", True])
def test_yes_has_many_spellings(tmp_path: Path, word: object) -> None:
    assert merged(tmp_path, log__quiet=word).flag("log.quiet") is True


@pytest.mark.parametrize("word", ["0", "false", "No", "OFF", False])
def test_no_has_many_spellings(tmp_path: Path, word: object) -> None:
    assert merged(tmp_path, log__quiet=word).flag("log.quiet") is False


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("content.inline_bytes_max", "1_048_576", 1_048_576),
        ("content.inline_bytes_max", 4.0, 4),
        ("content.inline_bytes_max", str(2**53 + 1), 2**53 + 1),
        ("audit.share", "0.5", 0.5),
        ("audit.share", 1, 1.0),
        ("log.level", 7, "7"),
        ("log.level", "a_b", "a_b"),
    ],
)
def test_a_value_becomes_the_type_of_its_default(name: str, raw: object, value: object) -> None:
    settings = merge(ALL, environment={}, flags={name: raw})
    assert value == settings[name]
    assert type(value) is type(settings[name])


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("content.inline_bytes_max", "many"),
        ("content.inline_bytes_max", ""),
        ("content.inline_bytes_max", "3.7"),
        ("content.inline_bytes_max", 3.7),
        ("content.inline_bytes_max", True),
        ("content.inline_bytes_max", [1]),
        ("content.inline_bytes_max", None),
        ("audit.share", "nan"),
        ("audit.share", float("inf")),
        ("log.quiet", "perhaps"),
        ("log.quiet", 2),
        ("log.level", False),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_an_example(name: str, raw: Any) -> None:
    with pytest.raises(BadInput, match=f"setting {name} from flag is .*; expected .*, for example") as caught:
        merge(ALL, environment={}, flags={name: raw})
    assert {"setting": name} == caught.value.details


def test_a_name_that_does_not_exist_is_refused_with_those_near_it(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"boxwork\.toml names the setting 'log\.lvl'.*there are: log\.level, log\.quiet$"
    ):
        merged(tmp_path, "[log]\nlvl = 'info'\n")
    with pytest.raises(BadInput, match="'nothing.at_all', which does not exist; there are: audit.share, content"):
        merge(ALL, environment={}, flags={"nothing.at_all": 1})


@pytest.mark.parametrize("toml", ["[log\n", "a = 1\na = 2\n", "\udcff"])
def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path, toml: str) -> None:
    file = tmp_path / "boxwork.toml"
    file.write_bytes(toml.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=r"boxwork\.toml cannot be read as TOML: "):
        merge(ALL, file=file, environment={})


def test_a_directory_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        merge(ALL, file=tmp_path, environment={})


def test_tables_in_tables_are_dotted_names(tmp_path: Path) -> None:
    deep = Setting("a.b.c", 1, "steps", "deep")
    file = tmp_path / "x.toml"
    file.write_text("[a.b]\nc = 2\n")
    assert 2 == merge([deep], file=file, environment={})["a.b.c"]
    assert "BOXWORK_A_B_C" == deep.variable


def test_values_are_asked_for_by_kind() -> None:
    settings = merge(ALL, environment={})
    assert 16 * KiB == settings.integer("content.inline_bytes_max")
    assert 0.01 == settings.number("audit.share")
    assert "info" == settings.text("log.level")
    with pytest.raises(BadInput, match="'info'; expected a number"):
        settings.integer("log.level")
