"""The fingerprint: what its parts are called, when it is found again, and what it costs to ask."""

from __future__ import annotations

import functools
import gc
import importlib
import linecache
import logging
import subprocess
import sys
import textwrap
import threading
import time
import types
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boxwork.box import Derivation, derivation
from boxwork.derive import source, walk
from boxwork.derive.ambient import Ambient
from boxwork.derive.fingerprint import Fingerprint, Fingerprinter
from boxwork.errors import Undeclared

SIZE = 300
TABLE = {"a": 1}
log = logging.getLogger(__name__)


def scale(x: int, k: int = 2) -> int:
    return x * k * SIZE


@derivation(version="3")
def shout(text: bytes, dpi: int = 300) -> bytes:
    log.info("shouting")
    return text.upper() * scale(dpi) + bytes(TABLE["a"])


class Memory(dict[bytes, bytes]):
    """An index in memory that counts."""

    hits = 0

    def get(self, key: bytes, default: Any = None) -> Any:
        found = super().get(key, default)
        self.hits += found is not None
        return found

    def put(self, key: bytes, value: bytes) -> None:
        self[key] = value


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Writes and imports a module; all of them are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    written: list[str] = []

    def module(name: str, text: str) -> types.ModuleType:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        written.append(name)
        importlib.invalidate_caches()
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    yield module
    for name in written:
        sys.modules.pop(name, None)


def labels(found: Fingerprint) -> list[str]:
    return [name for name, _ in found.parts]


def digest(box: Derivation[..., Any], **more: Any) -> bytes:
    return Fingerprinter(**more).of(box).digest


def test_parts_have_names_that_people_understand() -> None:
    found = Fingerprinter().of(shout)
    assert "cpython" in walk.PYTHON
    expected = {
        "function shout",
        "helper scale",
        "constant SIZE",
        "constant TABLE",
        "default dpi",
        "default scale.k",
        "annotations",
        "version 3",
        f"python {walk.PYTHON}",
        f"optimisation {sys.flags.optimize}",
    }
    assert expected == set(labels(found))
    assert sorted(labels(found)) == labels(found)
    assert any("log is a Logger" in note for note in found.notes)


def test_two_digests_differ_in_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Fingerprinter()
    before = seen.of(shout)
    monkeypatch.setitem(TABLE, "a", 2)
    after = seen.of(shout)
    changed = [name for (name, one), (_, other) in zip(before.parts, after.parts, strict=True) if one != other]
    assert ["constant TABLE"] == changed
    assert before.digest != after.digest


def test_an_unchanged_box_is_not_looked_at_again() -> None:
    seen = Fingerprinter()
    assert seen.of(shout) is seen.of(shout)


def test_a_box_can_be_garbage() -> None:
    seen = Fingerprinter()
    box = derivation(lambda x: x)
    seen.of(box)
    gone = weakref.ref(box)
    del box
    gc.collect()
    assert gone() is None
    assert not seen._boxes


def test_boxes_that_call_each_other_can_be_garbage() -> None:
    seen = Fingerprinter()
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def even(x):\n    return x == 0 or odd(x - 1)\ndef odd(x):\n    return x != 0 and even(x - 1)\n", scope)
    boxes = [derivation(scope[name]) for name in ("even", "odd")]
    scope.update(even=boxes[0], odd=boxes[1])
    first = [seen.of(box) for box in boxes]
    assert first == [seen.of(box) for box in boxes]
    assert all(seen.of(box) is known for box, known in zip(boxes, first, strict=True))
    gone = [weakref.ref(box) for box in boxes]
    del scope["even"], scope["odd"], boxes
    gc.collect()
    assert [None, None] == [one() for one in gone]
    assert not seen._boxes


def test_what_is_known_of_code_goes_with_the_code() -> None:
    seen = Fingerprinter()
    for number in range(5):
        scope: dict[str, Any] = {"__name__": "__main__"}
        exec(f"def box(x):\n    return x + {number}\n", scope)
        seen.of(derivation(scope["box"]))
        del scope
    gc.collect()
    assert not seen._sources._known


def test_an_import_that_is_forbidden_is_an_import_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def box(x):\n  try:\n    import colorsys as c\n  except ImportError:\n    c = None\n  return c\n", scope)
    box = derivation(scope["box"])
    seen = Fingerprinter()
    allowed = seen.of(box).digest
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "colorsys", None)
        assert allowed != seen.of(box).digest
    assert allowed == seen.of(box).digest


def test_a_pinned_constant_of_a_library_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def box(x):\n    from PIL import Image as I\n    return I.MAX_IMAGE_PIXELS\n", scope)
    pinned = derivation(pins=["PIL.Image.MAX_IMAGE_PIXELS"])(scope["box"])
    seen = Fingerprinter()
    before = seen.of(pinned).digest
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 77)
    assert before != seen.of(pinned).digest


def test_a_refusal_names_the_place_and_what_to_write(write: Any) -> None:
    module = write(
        "refusing",
        """
        from boxwork.box import derivation
        import threading

        CONNECTION = threading.local()

        def helper(x):
            y = x
            return CONNECTION.value

        @derivation
        def box(x):
            return helper(x)
    """,
    )
    with pytest.raises(Undeclared) as refusal:
        Fingerprinter().of(module.box)
    message = refusal.value.message
    assert "box box reads CONNECTION" in message
    assert f"{module.__file__}:9 (in helper)" in message
    assert "@derivation(ignores=['CONNECTION'])" in message
    assert "CONNECTION" == refusal.value.details["name"]
    assert 9 == refusal.value.details["line"]


def test_what_a_refusal_advises_is_accepted(write: Any) -> None:
    text = """
        from boxwork.box import derivation
        import threading

        CONNECTION = threading.local()

        @derivation(ignores=["CONNECTION"])
        def box(x):
            return CONNECTION.value
    """
    assert "ignored" in " ".join(Fingerprinter().of(write("accepting", text).box).notes)


def test_pinned_state_that_has_no_form_is_refused_with_its_reason(write: Any) -> None:
    module = write(
        "pinning",
        """
        from boxwork.box import derivation
        import threading
        STATE = threading.local()

        @derivation(pins=["STATE"])
        def box(x):
            return STATE
    """,
    )
    with pytest.raises(Undeclared, match="cannot be kept"):
        Fingerprinter().of(module.box)


def test_source_that_was_edited_after_the_import_is_not_believed(write: Any, tmp_path: Path) -> None:
    module = write("edited", "def box(x):\n    return x * 2\n")
    original = source.facts_of(module.box.__code__, "box")
    (tmp_path / "edited.py").write_text("def box(x):\n    return x * 3333\n")
    stale = source.facts_of(module.box.__code__, "box")
    assert original.calls is not None
    assert stale.calls is None  # the bytecode was taken
    other = write("edited", "def box(x):\n    return x * 3333\n")
    assert stale.digest != source.facts_of(other.box.__code__, "box").digest


def test_a_notebook_cell_is_read_from_what_the_notebook_keeps() -> None:
    """IPython compiles a cell under a name of its own and hands its text to `linecache`."""

    def cell(number: int, text: str) -> Derivation[..., Any]:
        name = f"<ipython-input-{number}-abc>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        scope: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, name, "exec"), scope)
        return derivation(scope["box"])

    first = cell(1, "K = 2\ndef box(x):\n    return x * K\n")
    again = cell(2, "K = 2\n\ndef box(x):\n    # the same\n    return x * K\n")
    other = cell(3, "K = 3\ndef box(x):\n    return x * K\n")
    assert source.facts_of(first.function.__code__, "box").calls is not None
    assert digest(first) == digest(again)
    assert digest(first) != digest(other)


def test_code_without_source_goes_by_its_bytecode() -> None:
    def made(text: str) -> Derivation[..., Any]:
        scope: dict[str, Any] = {"__name__": "nowhere"}
        exec(text, scope)
        return derivation(scope["box"])

    one = made("def box(x):\n    'doc'\n    return x + 1\n")
    moved = made("\n\n\ndef box(x):\n    return x + 1  # one\n")
    other = made("def box(x):\n    return x + 1.0\n")
    assert digest(one) == digest(moved)
    assert digest(one) != digest(other)


def test_a_script_has_one_fingerprint_run_or_imported(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        from boxwork.box import derivation
        from boxwork.derive.fingerprint import Fingerprinter

        def helper(x):
            return x * 2

        @derivation
        def box(x):
            return helper(x)

        print(Fingerprinter().of(box).digest.hex())
    """)
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, cwd=tmp_path)
    imported = subprocess.run(
        [sys.executable, "-c", "import script"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert run.stdout == imported.stdout


def test_another_python_or_another_optimisation_is_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(shout)
    with monkeypatch.context() as patch:
        patch.setattr(walk, "PYTHON", "cpython 3.99")
        assert before != digest(shout)
    optimised = subprocess.run(
        [
            sys.executable,
            "-O",
            "-c",
            "import sys; sys.path[:0] = sys.argv[1:]\n"
            "from boxwork.derive.fingerprint import Fingerprinter\n"
            "from boxwork.box import derivation\nimport colorsys\n"
            "print([p for p, _ in Fingerprinter().of(derivation(colorsys.rgb_to_hls)).parts])",
            *sys.path,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "optimisation 1" in optimised.stdout


def test_the_index_spares_the_next_process_the_source(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = write("big", "from boxwork.box import derivation\n@derivation\ndef box(x):\n    return len(x)\n")
    index = Memory()
    first = Fingerprinter(persist=index).of(module.box)
    monkeypatch.setattr(source, "facts_of", None)  # it would be called to read the source
    again = Fingerprinter(persist=index).of(module.box)
    assert first == again
    assert index.hits


def test_a_torn_row_of_the_index_is_found_again(write: Any) -> None:
    module = write("torn", "from boxwork.box import derivation\n@derivation\ndef box(x):\n    return len(x)\n")
    index = Memory()
    first = Fingerprinter(persist=index).of(module.box)
    for key in index:
        index[key] = b"\xc1torn"
    assert first == Fingerprinter(persist=index).of(module.box)


def test_many_threads_get_one_fingerprint() -> None:
    seen = Fingerprinter()
    found: list[Fingerprint] = []
    threads = [threading.Thread(target=lambda: found.append(seen.of(shout))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 8 == len(found)
    assert 1 == len({one.digest for one in found})


def test_files_and_variables_of_inner_boxes_are_declared_too(write: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    module = write(
        "nested",
        f"""
        import os
        from boxwork.box import derivation

        @derivation(files=[{str(tmp_path / "f")!r}], env=["HONESTY"])
        def inner(x):
            return open({str(tmp_path / "f")!r}).read() + os.environ["HONESTY"]

        @derivation
        def box(x):
            return inner(x)
    """,
    )
    seen = Fingerprinter()
    found = seen.of(module.box)
    assert (str(tmp_path / "f"),) == found.files
    assert ("HONESTY",) == found.env
    assert ("locale",) == found.ambient
    assert ["file", "env", "locale"] == [name.split()[0] for name, _ in seen.declared(module.box)]


def test_a_declared_file_may_be_missing_or_a_directory(tmp_path: Path) -> None:
    ambient = Ambient()
    path = tmp_path / "d"
    missing = ambient.file(str(path))
    path.mkdir()
    empty = ambient.file(str(path))
    (path / "a").write_text("1")
    one = ambient.file(str(path))
    (path / "a").rename(path / "b")
    assert 4 == len({missing, empty, one, ambient.file(str(path))})


def test_the_digest_of_a_class_follows_its_methods_and_bases(write: Any) -> None:
    text = "class Base:\n    def f(self):\n        return {0}\nclass Crop(Base):\n    '''Doc {1}.'''\n    K = {2}\n"
    seen = Fingerprinter()
    describe = seen.describe_class
    first = describe(write("classes", text.format(1, 1, 1)).Crop)
    assert first == describe(write("classes", text.format(1, 2, 1)).Crop)
    assert first != describe(write("classes", text.format(2, 1, 1)).Crop)
    assert first != describe(write("classes", text.format(1, 1, 2)).Crop)
    module = write("classes", text.format(1, 1, 1))
    assert first == describe(module.Crop)
    module.Crop.extra = lambda self: 1
    assert first != describe(module.Crop)


def test_a_class_whose_method_reads_the_clock_can_be_an_input(write: Any) -> None:
    module = write("clocks", "import time\nclass Crop:\n    def now(self):\n        return time.time()\n")
    assert 32 == len(Fingerprinter().describe_class(module.Crop))


def test_a_long_chain_of_helpers_is_followed(write: Any) -> None:
    lines = ["from boxwork.box import derivation", "def f0(x):\n    return x"]
    lines += [f"def f{n}(x):\n    return f{n - 1}(x)" for n in range(1, 400)]
    lines += ["@derivation\ndef box(x):\n    return f399(x)"]
    found = Fingerprinter().of(write("chain", "\n".join(lines)).box)
    assert 400 == sum(name.startswith("helper ") for name in labels(found))


def test_values_that_contain_themselves_are_hashed(write: Any) -> None:
    module = write(
        "cyclic",
        """
        from boxwork.box import derivation

        class Node:
            def __init__(self):
                self.me = self
                self.run = self.step

            def step(self):
                return 1

        NODE = Node()

        @derivation
        def box(x):
            return NODE.run()
    """,
    )
    assert Fingerprinter().of(module.box)


def test_a_partial_a_method_and_an_instance_can_be_boxes(write: Any) -> None:
    module = write(
        "callables",
        """
        class Model:
            def __init__(self, k):
                self.k = k

            def run(self, x):
                return x * self.k

            def __call__(self, x):
                return x * self.k
    """,
    )
    kinds: list[Any] = [
        lambda k: functools.partial(module.Model.run, module.Model(k)),
        lambda k: module.Model(k).run,
        module.Model,
    ]
    for kind in kinds:
        seen = Fingerprinter()
        boxes = [derivation(kind(k), name="box") for k in (1, 1, 2)]
        one, same, other = (seen.of(box).digest for box in boxes)
        assert one == same
        assert one != other


def now_by_a_long_way() -> float:
    return time.time()


def first_step() -> float:
    return second_step()


def second_step() -> float:
    return now_by_a_long_way()


class Quiet:
    """Its method is never called, and it is the shorter way to the clock."""

    def look(self) -> float:
        return now_by_a_long_way()


def test_an_uncalled_method_does_not_hide_a_longer_way_that_is_taken() -> None:
    def box() -> float:
        Quiet()
        return first_step()

    with pytest.raises(Undeclared, match="time.time"):
        Fingerprinter().of(derivation(box))


def test_a_helper_that_is_also_a_method_is_refused_for_the_plain_call() -> None:
    class Holder:
        peek = now_by_a_long_way

    def box() -> float:
        Holder()
        return first_step()

    with pytest.raises(Undeclared, match="time.time"):
        Fingerprinter().of(derivation(box))


def test_a_library_that_another_thread_is_importing_does_not_stand_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    @derivation
    def shades(red: float) -> float:
        import colorsys
        import pyclbr
        import rlcompleter
        import stringprep
        import symtable
        import tabnanny

        return colorsys.rgb_to_hsv(red, 0.0, 0.0)[0] + len((pyclbr, rlcompleter, stringprep, symtable, tabnanny))

    appearing = ["colorsys", "pyclbr", "rlcompleter", "stringprep", "symtable", "tabnanny"]
    for name in appearing:
        monkeypatch.delitem(sys.modules, name, raising=False)
    fingerprints = Fingerprinter()
    compute, looks = fingerprints._compute, 0

    def compute_while_one_appears(box: Derivation[..., Any]) -> Any:
        nonlocal looks
        looks += 1
        found = compute(box)
        importlib.import_module(appearing.pop(0))
        return found

    monkeypatch.setattr(fingerprints, "_compute", compute_while_one_appears)
    first = fingerprints.of(shades)
    assert 2 == looks
    while appearing:
        importlib.import_module(appearing.pop(0))
    monkeypatch.setattr(fingerprints, "_compute", compute)
    assert first.digest == fingerprints.of(shades).digest


def test_what_is_another_thing_at_every_look_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprints = Fingerprinter()
    compute = fingerprints._compute

    def compute_while_it_changes(box: Derivation[..., Any]) -> Any:
        found = compute(box)
        monkeypatch.setitem(globals(), "SIZE", SIZE + 1)
        return found

    monkeypatch.setattr(fingerprints, "_compute", compute_while_it_changes)
    with pytest.raises(Undeclared, match="changes while it is looked at"):
        fingerprints.of(shout)
