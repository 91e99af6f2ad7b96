"""A recipe says what is wanted; what is wrong with it is said with the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxwork import errors
from boxwork.packs.images.recipe import FileRule, lineage, parse, read

WHOLE = """
packages = ["nginx-light", "curl=7.88.1-10"]
scripts = ["echo hello"]
services = ["nginx"]
[base]
variant = "apt"
[files]
"/etc/motd" = "motd"
"/etc/issue" = {text = "hello", mode = "0600", owner = "ada"}
[[users]]
name = "ada"
"""


def test_a_recipe_is_read_whole() -> None:
    recipe = parse(WHOLE, "web")
    assert ("web", "apt", ("nginx-light", "curl=7.88.1-10")) == (recipe.name, recipe.base.variant, recipe.packages)
    assert FileRule(source="motd") == recipe.files["/etc/motd"]
    assert (("nginx",), "ada") == (recipe.services.enable, recipe.users[0].name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("packagse = []", "unknown field `packagse`"),
        ("packages = ['--option']", "'--option' is no package"),
        ("name = '../up'", "a name has 1 to 64 of"),
        ("[files]\n'/../etc' = 'x'", "is no absolute path of the image"),
        ("[files]\n'/etc/x' = {text = 'a', link = 'b'}", "give one of text, source and link"),
        ("[files]\n'/etc/x' = {text = 'a', mode = 'rwx'}", "mode is octal"),
        ("[[users]]\nname = 'a:b'", "is no name of a user"),
        ("[[users]]\nname = 'a'\nshell = '/bin/sh:'", "has a colon or a line break"),
        ("services = ['a b']", "is no name of a unit"),
        ("from = 'x'\n[base]\nsuite = 'y'", "no \\[base\\] of its own"),
        ("packages = [", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(errors.BadInput, match=said):
        parse(text, "web")


def test_a_recipe_stands_on_another_and_never_on_itself(tmp_path: Path) -> None:
    (tmp_path / "below.toml").write_text("packages = ['a']")
    (tmp_path / "web.toml").write_text("from = 'below'\npackages = ['b']")
    assert [("a",), ("b",)] == [recipe.packages for recipe in lineage(read(tmp_path / "web.toml"))]
    (tmp_path / "below.toml").write_text("from = 'web'")
    with pytest.raises(errors.BadInput, match="stands on itself"):
        lineage(read(tmp_path / "web.toml"))
