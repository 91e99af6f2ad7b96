"""Ordinary code of real libraries is taken in without declarations."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import sysconfig
import warnings
from pathlib import Path
from typing import Any

import pytest

from boxwork.box import derivation
from boxwork.derive.fingerprint import Fingerprinter


def names(text: str) -> list[str]:
    return text.split()


# Functions that a user would wrap as they are: they stand in the key by name, package and version.
WRAPPED = names("""
    numpy.average numpy.polyfit numpy.interp numpy.histogram numpy.linalg.norm numpy.gradient numpy.cov numpy.add
    numpy.lib.stride_tricks.sliding_window_view numpy.fft.fftfreq scipy.signal.firwin scipy.signal.butter
    scipy.stats.zscore scipy.ndimage.gaussian_filter scipy.interpolate.interp1d scipy.spatial.distance.euclidean
    pandas.melt pandas.concat pandas.cut pandas.to_numeric pandas.crosstab pandas.DataFrame.describe
    PIL.ImageOps.fit PIL.ImageOps.exif_transpose PIL.ImageChops.add PIL.ImageStat.Stat PIL.ImageColor.getrgb
    json.dumps textwrap.dedent hashlib.sha256 urllib.parse.urlsplit statistics.stdev difflib.unified_diff
    xml.etree.ElementTree.tostring dataclasses.asdict copy.deepcopy operator.itemgetter functools.reduce
    idna.encode wcwidth.wcswidth pygments.highlight dateutil.relativedelta.relativedelta
""")

# Functions followed line by line, with all they call, as if they were the project's own.  Only such as have no effect
# in the standard library of any Python we run on: from 3.12 `fractions` calls hash() outside of `__hash__` (so all of
# `statistics` that makes a Fraction is refused), and `calendar` makes an Enum, whose metaclass looks up computed names.
FOLLOWED = names("""
    textwrap.wrap textwrap.shorten statistics.median statistics.fmean statistics.correlation
    statistics.linear_regression difflib.get_close_matches difflib.unified_diff colorsys.rgb_to_hls html.escape
    html.unescape base64.b64encode heapq.merge heapq.nlargest string.capwords urllib.parse.quote urllib.parse.urlencode
    json.dumps email.utils.parseaddr calendar.timegm csv.DictReader quopri.encodestring re.escape glob.escape
    collections.Counter stat.filemode posixpath.normpath xml.sax.saxutils.escape reprlib.repr PIL.ImageOps.autocontrast
    PIL.ImageEnhance.Sharpness PIL.ImageFilter.GaussianBlur numpy.fft.fftfreq dateutil.easter.easter idna.encode
    wcwidth.wcswidth packaging.version.parse packaging.utils.canonicalize_name mdurl.encode click.formatting.wrap_text
    rich.markup.escape
""")


def found(name: str) -> Any:
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                value: Any = importlib.import_module(".".join(parts[:count]))
            except ImportError:
                continue
        for part in parts[count:]:
            value = getattr(value, part)
        return value
    raise ImportError(name)


@pytest.fixture(scope="module")
def shallow() -> Fingerprinter:
    return Fingerprinter()


@pytest.fixture(scope="module")
def deep() -> Fingerprinter:
    paths = sysconfig.get_paths()
    return Fingerprinter(project_roots=[paths["stdlib"], paths["purelib"]])


def test_there_are_more_than_thirty() -> None:
    assert len(set(WRAPPED)) >= 30
    assert len(set(FOLLOWED)) >= 30


def test_every_library_asked_for_is_pinned() -> None:
    locks = Path(__file__).parents[2] / "requirements"
    text = "".join((locks / name).read_text() for name in ("run.lock", "test.lock"))
    pinned = {line.partition("==")[0] for line in text.splitlines() if "==" in line and line[0].isalnum()}
    providers = importlib.metadata.packages_distributions()
    modules = {name.partition(".")[0] for name in (*WRAPPED, *FOLLOWED)} - sys.stdlib_module_names
    assert set() == {module for module in modules if not {name.lower() for name in providers[module]} & pinned}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_library_function_can_be_wrapped(name: str, shallow: Fingerprinter) -> None:
    box = derivation(found(name))
    labels = [label.split()[0] for label, _ in shallow.of(box).parts]
    assert {"package", "stdlib"} & set(labels) or name.startswith("functools")
    assert shallow.of(box) is shallow.of(box)


@pytest.mark.parametrize("name", FOLLOWED)
def test_library_code_can_be_followed(name: str, deep: Fingerprinter) -> None:
    box = derivation(found(name))
    assert 32 == len(deep.of(box).digest)
    assert deep.of(box) is deep.of(box)
