"""What the sources may not do.  Each message says "X is not used here, use Y"."""

from __future__ import annotations

import ast
import re

import pytest

from tests.tidy.source import PACKAGE, ROOT, Source, modules, names_used, texts

FILE_LINES_MAX = 500
# The header of a longer file says so in these words, with the reason.
LONG_FILE = "This file is long"

HASHES = ("hashlib", "hmac", "zlib.crc32", "zlib.adler32", "binascii.crc32", "blake3", "xxhash", "_sha2", "_hashlib")

WALL_CLOCK = {
    "time.time": "clock.now_ns()",
    "time.time_ns": "clock.now_ns()",
    "time.localtime": "datetime.fromtimestamp of clock.now_ns()",
    "time.gmtime": "datetime.fromtimestamp of clock.now_ns()",
    "time.monotonic": "boxwork.clock.monotonic_ns",
    "time.monotonic_ns": "boxwork.clock.monotonic_ns",
    "time.perf_counter": "boxwork.clock.monotonic_ns",
    "time.perf_counter_ns": "boxwork.clock.monotonic_ns",
    "datetime.datetime.now": "datetime.fromtimestamp of clock.now_ns()",
    "datetime.datetime.utcnow": "datetime.fromtimestamp of clock.now_ns()",
    "datetime.datetime.today": "datetime.fromtimestamp of clock.now_ns()",
    "datetime.date.today": "datetime.fromtimestamp of clock.now_ns()",
    "random": "clock.token()",
    "secrets": "clock.token()",
    "os.urandom": "clock.token()",
    "os.getrandom": "clock.token()",
    "uuid.uuid1": "clock.token()",
    "uuid.uuid4": "clock.token()",
    "numpy.random": "clock.token() as a seed that is recorded",
}

# Generators that draw the same again when they are called with a seed.
SEEDED = {"Random", "default_rng", "Generator", "PCG64"}

PICKLES = ("pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "jsonpickle")

NOT_A_NAME = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "misc",
    "base",
    "manager",
    "managers",
    "core",
    "lib",
    "tools",
}

# (file, name) -> why this one use is right.
ALLOWED: dict[tuple[str, str], str] = {
    ("boxwork/keys.py", "hashlib"): "the one file that hashes",
    ("boxwork/keys.py", "zlib.crc32"): "the one file that hashes",
    ("boxwork/clock.py", "time.time_ns"): "the one file that reads clocks",
    ("boxwork/clock.py", "time.perf_counter_ns"): "the one file that reads clocks",
    ("boxwork/clock.py", "secrets"): "the one file that draws chance",
    ("boxwork/derive/guards.py", "marshal"): "two forms of one value are compared in memory; none is kept or read back",
    ("boxwork/testing/faults.py", "pickle"): "the answer of a child that a test forked, read by its parent at once",
}


def uses(
    forbidden: tuple[str, ...] | dict[str, str], folder: str = "boxwork"
) -> list[tuple[Source, ast.expr | ast.stmt, str]]:
    """Where a forbidden name, or anything inside it, is used without being in `ALLOWED`."""
    found = []
    for source in modules(folder):
        for node, name in names_used(source):
            root = next((word for word in forbidden if name == word or name.startswith(word + ".")), None)
            if root is not None and (source.name, root) not in ALLOWED:
                found.append((source, node, root))
    return found


def test_only_keys_py_hashes() -> None:
    slips = [f"{s.at(n)}: {name} is not used here, use boxwork.keys" for s, n, name in uses(HASHES)]
    assert [] == slips, "\n".join(slips)


def test_only_clock_py_reads_the_time_or_draws_chance() -> None:
    slips = [
        f"{s.at(n)}: {name} is not used here, use {WALL_CLOCK[name]}"
        for s, n, name in uses(WALL_CLOCK)
        if not (name in {"random", "numpy.random"} and n.lineno in _seeded_lines(s))
    ]
    assert [] == slips, "\n".join(slips)


def _seeded_lines(source: Source) -> set[int]:
    """Lines with a generator that is given its seed, and what its import needs: those can be repeated."""
    imports = {n.lineno for n in ast.walk(source.tree) if isinstance(n, (ast.Import, ast.ImportFrom))}
    calls = [n for n in ast.walk(source.tree) if isinstance(n, ast.Call)]
    bare = {id(call.func) for call in calls if not call.args}
    # The class as a type, or called with a seed; not called without one.
    seeded = {
        n.lineno
        for n in ast.walk(source.tree)
        if isinstance(n, ast.Attribute) and n.attr in SEEDED and id(n) not in bare
    }
    return imports | seeded


def test_nothing_is_pickled() -> None:
    slips = [
        f"{s.at(n)}: {name} is not used here, use boxwork.derive.packing (values) or msgspec (messages)"
        for s, n, name in uses(PICKLES)
    ]
    assert [] == slips, "\n".join(slips)


def test_every_exception_to_the_rules_is_still_needed() -> None:
    used = {(s.name, name) for s in modules() for _, name in names_used(s)}
    stale = [
        key
        for key in ALLOWED
        if not any(file == key[0] and (name + ".").startswith(key[1] + ".") for file, name in used)
    ]
    assert [] == stale


def test_modules_have_names_that_say_what_is_in_them() -> None:
    slips = [
        f"{path.relative_to(ROOT)}: {path.stem!r} is not used here, use the noun that this file is about"
        for path in [*PACKAGE.rglob("*"), *(ROOT / "bench").rglob("*"), *(ROOT / "tests").rglob("*")]
        if (path.is_dir() or path.suffix == ".py") and path.stem.removeprefix("test_") in NOT_A_NAME
    ]
    assert [] == slips, "\n".join(slips)


@pytest.mark.parametrize("folder", ["boxwork", "bench", "docs", "examples"])
def test_every_module_says_what_it_is(folder: str) -> None:
    silent = [f"{s.name}: write one sentence at its top" for s in modules(folder) if not ast.get_docstring(s.tree)]
    assert [] == silent, "\n".join(silent)


def test_a_file_is_one_idea() -> None:
    long = [
        f"{s.name} has {lines} lines: a second noun has moved in, give it its own file"
        f" (or say {LONG_FILE!r} and why in its header)"
        for s in modules()
        if (lines := s.text.count("\n")) > FILE_LINES_MAX and LONG_FILE not in (ast.get_docstring(s.tree) or "")
    ]
    assert [] == long, "\n".join(long)


def test_inner_modules_import_concrete_modules() -> None:
    slips = []
    for source in modules():
        if source.name == "boxwork/__init__.py" or source.name.startswith("boxwork/packs/"):
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ImportFrom) and node.module == "boxwork" and not node.level:
                for alias in node.names:
                    there = PACKAGE / alias.name
                    if not (there.with_suffix(".py").exists() or there.is_dir()) and alias.name != "__version__":
                        slips.append(
                            f"{source.at(node)}: `from boxwork import {alias.name}` is not used here,"
                            " use the module it is written in"
                        )
    assert [] == slips, "\n".join(slips)


def test_packs_come_in_through_the_front_door() -> None:
    slips = []
    for source in modules("boxwork/packs"):
        own = ".".join(source.path.relative_to(ROOT).parts[:3]).removesuffix(".py")
        for node in ast.walk(source.tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            slips += [
                f"{source.at(node)}: {name} is not used here, use what `boxwork` itself exports"
                for name in names
                if name.startswith("boxwork.") and not (name + ".").startswith(own + ".")
            ]
    assert [] == slips, "\n".join(slips)


# Written apart, so that this file does not find itself.
HOSTS = [a + b for a, b in (("pypi", ".org"), ("pythonhosted", ".org"), ("npmjs", ".org"), ("deb.debian", ".org"))]
MACHINE_PATH = re.compile(r"/(w[o]rk|f[a]rm|r[o]ot|home/[a-z]+)/[a-z.]")
EMAIL = re.compile(r"\b[\w.+-]+@(?!example\.|[\w.-]*\.(?:example|invalid|test)\b)[\w-]+\.[a-z]{2,}\b")


def test_the_repository_names_no_machine_host_or_person() -> None:
    slips = []
    for name, text in texts():
        if name.endswith(".svg") or name == "LICENSE":
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for host in HOSTS:
                if host in line:
                    slips.append(f"{name}:{number}: a registry's host is not used here, use the package's name")
            if not name.endswith(".lock") and (found := MACHINE_PATH.search(line)):
                slips.append(
                    f"{name}:{number}: the path {found[0]!r} of one machine is not used here, use a relative path"
                )
            if found := EMAIL.search(line):
                slips.append(f"{name}:{number}: the address {found[0]!r} is not used here, use somebody@example.org")
    assert [] == slips, "\n".join(slips[:20])


def test_nothing_is_half_done() -> None:
    marks = re.compile(r"\b(?:FIX" + r"ME|XX" + r"X|TO" + r"DO)\b")
    slips = [
        f"{source.name}:{number}: a mark for later is not used here, use an issue"
        for folder in ("boxwork", "bench", "tests", "docs", "examples")
        for source in modules(folder)
        for number, line in enumerate(source.text.splitlines(), 1)
        if marks.search(line)
    ]
    assert [] == slips, "\n".join(slips)
