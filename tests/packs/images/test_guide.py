"""What docs/images.md shows is what there is: its recipe can be read, its commands exist, its Python makes a recipe."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from boxwork.cli.output import Output
from boxwork.cli.program import Context
from boxwork.packs.images.commands import commands
from boxwork.packs.images.recipe import parse, read

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "images.md").read_text("utf-8")
BOOT_PAGE = (DOCS / "images-boot.md").read_text("utf-8")


def test_the_recipe_of_the_guide_can_be_read() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    recipe = parse(text, "web")
    assert (("nginx-light",), ("nginx",), "apt") == (recipe.packages, recipe.services.enable, recipe.base.variant)


def test_every_command_of_the_guide_exists(tmp_path: Path) -> None:
    app = commands(Context(tmp_path, Output()))
    known = {name for name in app if not name.startswith("-")}
    shown = set(re.findall(r"boxwork images (\w+)", PAGE))
    assert shown >= {"build", "check", "list", "versions", "show", "diff", "rollback", "log", "export", "publish"}
    assert set() == shown - known
    for line in re.findall(r"^boxwork images .*$", PAGE, re.MULTILINE):
        app.parse_args(line.split("#")[0].split(">")[0].split()[2:], exit_on_error=False, print_error=False)


def test_every_command_of_the_guide_to_booting_exists(tmp_path: Path) -> None:
    app = commands(Context(tmp_path, Output()))
    lines = re.findall(r"^\$ boxwork images (.*)$", BOOT_PAGE, re.MULTILINE)
    assert len(lines) > 8
    for line in lines:
        app.parse_args(line.split("#")[0].split(), exit_on_error=False, print_error=False)


def test_the_machine_of_the_guide_to_booting_can_be_read() -> None:
    (path,) = set(re.findall(r"examples/machine/\w+\.toml", BOOT_PAGE))
    recipe = read(DOCS.parent / path)
    assert "debian" == recipe.name
    assert "/etc/boxwork/keep" in recipe.files


def test_the_python_of_the_guide_makes_a_recipe() -> None:
    (text,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    tree = ast.parse(text)
    wanted = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    wanted += [
        node for node in ast.walk(tree) if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "recipe"
    ]
    made = ast.unparse(ast.Module(wanted, []))
    names: dict[str, object] = {}
    exec(compile(made, "docs/images.md", "exec"), names)
    assert names["recipe"] is not None
