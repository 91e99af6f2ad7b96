"""What is said about the code in several places is the same everywhere."""

from __future__ import annotations

import ast
import importlib.util
import re
from types import ModuleType

import pytest

from boxwork import errors
from boxwork.app.node import all_settings
from boxwork.pack import find_packs
from tests.tidy.source import PACKAGE, ROOT, modules

DOCS = ROOT / "docs"

# Pages of the site that docs/_site.py takes from the root of the repository.
FROM_ROOT = {"architecture.md": "ARCHITECTURE.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "_generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["generate_docs"] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def caption(name: str) -> str:
    """The first sentence of a package's docstring, as it stands in a table: lower case, no full stop."""
    path = PACKAGE / name / "__init__.py"
    path = path if path.exists() else PACKAGE / f"{name}.py"
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    sentence = " ".join(text.split("\n\n")[0].split()).removesuffix(".")
    return sentence[:1].lower() + sentence[1:]


def rows(document: str) -> list[tuple[list[str], str]]:
    """The packages named in the first cell of each table row, and the caption in the second."""
    text = (ROOT / document).read_text("utf-8")
    found = []
    for first, says in re.findall(r"^\| (`[^|]+) \| ([^|]+) \|$", text, re.MULTILINE):
        names = re.findall(r"`(?:boxwork[./])?(\w+)(?:/\*?)?`", first)
        packages = [name for name in names if (PACKAGE / name / "__init__.py").exists()]
        if packages:
            found.append((packages, says.strip()))
    return found


def parts_of_the_house() -> set[str]:
    return {
        path.stem
        for path in PACKAGE.iterdir()
        if not path.name.startswith("_") and (path.suffix == ".py" or (path / "__init__.py").exists())
    }


def test_the_architecture_page_names_every_part() -> None:
    named = set(re.findall(r"`(\w+)(?:/\*?)?`", (ROOT / "ARCHITECTURE.md").read_text("utf-8")))
    missing = parts_of_the_house() - named
    assert set() == missing, f"ARCHITECTURE.md does not name {missing}"


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "README.md"])
def test_captions_equal_docstrings(document: str) -> None:
    assert rows(document), f"{document} has no table of the packages"
    slips = [
        f"{document} says of {packages}: {says!r}; their docstrings: {[caption(name) for name in packages]}"
        for packages, says in rows(document)
        if says not in {caption(name) for name in packages}
    ]
    assert [] == slips, "\n".join(slips)


def test_the_generated_pages_are_up_to_date(generate: ModuleType) -> None:
    stale = [
        str(path.relative_to(ROOT))
        for path, text in generate.pages().items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    assert [] == stale, f"run `make docs-tables`: {stale}"


def test_every_setting_has_its_default_unit_and_reason(generate: ModuleType) -> None:
    slips, seen = [], {}
    for module, declared in generate.declared_settings().items():
        for setting in declared:
            if not re.fullmatch(r"[a-z][a-z0-9]*(\.[a-z][a-z0-9_]*)+", setting.name):
                slips.append(f"{module}: {setting.name!r} is not like `content.inline_bytes_max`")
            if len(setting.reason) < 15:
                slips.append(f"{module}: {setting.name} does not say why")
            if not setting.unit and type(setting.default) in (int, float) and not setting.name.endswith(".port"):
                slips.append(f"{module}: {setting.name} is a number without a unit")
            if setting.name in seen:
                slips.append(f"{module}: {setting.name} is declared in {seen[setting.name]} too")
            seen[setting.name] = module
    assert [] == slips, "\n".join(slips)


def test_every_declared_setting_is_merged(generate: ModuleType) -> None:
    declared = {setting.name for rows in generate.declared_settings().values() for setting in rows}
    merged = {setting.name for setting in all_settings(find_packs())}
    assert set() == declared - merged, "declared but never merged: name its SETTINGS in boxwork/app"
    assert set() == merged - declared


def test_every_setting_that_is_read_is_declared(generate: ModuleType) -> None:
    declared = {setting.name for rows in generate.declared_settings().values() for setting in rows}
    slips = []
    for source in modules():
        for call in ast.walk(source.tree):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and call.func.attr in {"integer", "number", "text", "flag"}
                and "settings" in ast.unparse(call.func.value)
                and call.args
                and isinstance(call.args[0], ast.Constant)
                and call.args[0].value not in declared
            ):
                slips.append(f"{source.at(call)}: the setting {call.args[0].value!r} is declared nowhere")
    assert [] == slips, "\n".join(slips)


def test_the_drawing_of_the_error_tree_is_the_tree(generate: ModuleType) -> None:
    drawn = {name: parent for name, (parent, _) in generate.drawn_tree().items()}
    real = {kind.__name__: kind.__mro__[1].__name__ for kind in generate.error_classes()}
    real["BoxworkError"] = ""
    drawn.pop("InvariantBroken")
    assert real == drawn


def test_every_error_has_its_own_code_and_a_meaning(generate: ModuleType) -> None:
    codes: dict[str, str] = {}
    for kind in generate.error_classes():
        assert "code" in vars(kind), f"{kind.__name__} has no code of its own"
        assert kind.code not in codes, f"{kind.__name__} and {codes[kind.code]} have the code {kind.code!r}"
        codes[kind.code] = kind.__name__
        assert kind is errors.BoxworkError or len(generate.drawn_tree()[kind.__name__][1]) > 10


def test_every_error_class_is_used() -> None:
    used = {
        node.id if isinstance(node, ast.Name) else node.attr
        for source in modules()
        if source.name != "boxwork/errors.py"
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.Name, ast.Attribute))
    }
    idle = {
        kind
        for kind, value in vars(errors).items()
        if isinstance(value, type)
        and issubclass(value, errors.BoxworkError)
        and not value.__subclasses__()
        and kind not in used
    }
    assert set() == idle, f"nobody raises {idle}: take them out of errors.py"


def test_links_between_documents_lead_somewhere() -> None:
    slips = []
    for page in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")]:
        text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text("utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            there = (page.parent / target).exists() or (
                page.parent == DOCS and (ROOT / FROM_ROOT.get(target, "?")).exists()
            )
            if "://" not in target and not target.startswith("mailto:") and not there:
                slips.append(f"{page.relative_to(ROOT)} links to {target}, which is not there")
    assert [] == slips, "\n".join(slips)


def test_every_make_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE)) - {"help", "run-layer", "test-layers"}
    explained = set(re.findall(r"^#   make ([a-z-]+)", text, re.MULTILINE)) | {"docs-serve", "docs-tables"}
    assert targets == explained
