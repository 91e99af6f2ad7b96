"""The signed package indices of an archive, asked by apt itself: which packages, of which version, with which hash.

apt keeps a state of its own below `run/images/apt`, beside the machine's and never touching it.  It checks the
signature of the index with the keys the sources name; the index has the hash of every list, a list has the SHA-256 of
every package, and that is the package's name in the store.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from boxwork import Ref, errors, ref_of
from boxwork.packs.images.archive import pieces
from boxwork.packs.images.recipe import Base, Variant

# What apt may take to fetch the indices, and to answer a question.  Unit: s.  Debian's are 10 MB; arbitrary above that.
UPDATE_S_MAX = 300
ASK_S_MAX = 120
FETCH_S_MAX = 1800
# Retries of one file, by apt.
RETRIES = 3

SOURCES = Path("/etc/apt/sources.list")
RELEASE = Path("/etc/os-release")
# What each variant of mmdebstrap begins with, as patterns of apt.
BEGINS: dict[Variant, tuple[str, ...]] = {
    "none": (),
    "essential": ("?essential",),
    "apt": ("?essential", "apt"),
    "minbase": ("?essential", "?priority(required)", "apt"),
}

_INSTALL = re.compile(r"^Inst (\S+) (?:\[\S+\] )?\((\S+) ", re.MULTILINE)
_REPLACED = re.compile(r"^(?:Inst (\S+) \[|Remv (\S+))", re.MULTILINE)


class Package(msgspec.Struct, frozen=True):
    """One package as an index has it; `control` is its stanza without where the file lies."""

    name: str
    version: str
    architecture: str
    sha256: str
    bytes: int
    control: str

    @property
    def ref(self) -> Ref:
        """The name of its file."""
        return Ref.parse(f"sha256:{self.sha256}")

    @property
    def exact(self) -> str:
        return f"{self.name}={self.version}"

    @property
    def file(self) -> str:
        return f"{self.name}_{self.version.rpartition(':')[2]}_{self.architecture}.deb"


class Indices:
    """The indices of one set of sources for one architecture.  Many processes may share the folder."""

    def __init__(self, above: Path, base: Base) -> None:
        self.suite = base.suite or machine_suite()
        self.architecture = base.architecture or _machine_architecture()
        self.sources = base.sources or machine_sources(self.suite)
        self.folder = above / ref_of(f"{self.sources}\0{self.architecture}".encode()).hex[:16]
        self._options = [
            f"-oDir::State={self.folder}/state",
            f"-oDir::Cache={self.folder}/cache",
            "-oDir::Etc::sourcelist=/dev/null",
            f"-oDir::Etc::sourceparts={self.folder}/sources",
            "-oDir::Etc::preferences=/dev/null",
            "-oDir::Etc::preferencesparts=/dev/null",
            f"-oAPT::Architecture={self.architecture}",
            f"-oAPT::Architectures={self.architecture}",
            "-oAPT::Install-Recommends=false",
            "-oAPT::Sandbox::User=" + ("root" if os.geteuid() == 0 else ""),
            "-oAcquire::Languages=none",
            f"-oAcquire::Retries={RETRIES}",
            "-oAPT::Update::Error-Mode=any",
        ]

    def refresh(self, age_s_max: float, now_s: float) -> None:
        """Fetch the indices if those here are older.  Raises `Busy` if they cannot be had or are not signed."""
        for part in ("state/lists/partial", "cache/archives/partial", "sources", "status"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        suffix = "sources" if re.search(r"^Types:", self.sources, re.MULTILINE) else "list"
        with self._alone():
            stamp = self.folder / "fetched"
            if stamp.exists() and 0 <= now_s - stamp.stat().st_mtime <= age_s_max:
                return
            (self.folder / "sources" / f"image.{suffix}").write_text(self.sources)
            self._apt(["apt-get", "update", "-q"], UPDATE_S_MAX, "the package indices cannot be fetched")
            stamp.touch()
            os.utime(stamp, (now_s, now_s))

    def identity(self) -> Ref:
        """The name of what the indices say: of the signed files, or of the lists where nothing is signed."""
        lists = self.folder / "state" / "lists"
        signed = sorted(path for path in lists.glob("*Release") if path.is_file())
        found = signed or sorted(path for path in lists.glob("*Packages*") if path.is_file())
        return ref_of(b"".join(path.name.encode() + b"\0" + path.read_bytes() for path in found))

    def begin(self, variant: Variant) -> tuple[str, ...]:
        return BEGINS[variant]

    def resolve(self, wanted: Sequence[str], below: Sequence[Package]) -> list[Package]:
        """The packages that installing `wanted` upon `below` brings, in order of their names.

        Raises `BadInput` for what does not exist, fits with nothing, or would change what is below.
        """
        if not wanted:
            return []
        with self._status(below) as status:
            answer = self._apt(
                [f"-oDir::State::status={status}", "apt-get", "install", "--simulate", "-q", *wanted],
                ASK_S_MAX, f"{', '.join(wanted)} cannot be resolved", cannot=errors.BadInput,
            )  # fmt: skip
            if match := _REPLACED.search(answer):
                package = match.group(1) or match.group(2)
                raise errors.BadInput(
                    f"installing {', '.join(wanted)} would change {package} of the step before: ask for it there"
                )
            exact = [f"{name}={version}" for name, version in _INSTALL.findall(answer)]
            if not exact:
                return []
            shown = self._apt(["apt-cache", "show", "--no-all-versions", *exact], ASK_S_MAX, "apt-cache cannot answer")
        found = {package.exact: package for package in map(_package, re.split(r"\n\n+", shown.strip()))}
        if lost := sorted({_plain(one) for one in exact} - found.keys()):
            raise errors.Busy(f"the indices changed while they were asked ({', '.join(lost[:5])}): try again")
        return sorted(found.values(), key=lambda package: (package.name, package.architecture))

    def fetch(self, packages: Sequence[Package], store: Any) -> int:
        """Put the files of these packages into the store, those it lacks; how many bytes came.  Verified by hash."""
        lacking = [package for package in packages if not store.has(package.ref)]
        if not lacking:
            return 0
        with tempfile.TemporaryDirectory(prefix="boxwork-debs-") as folder:
            if os.geteuid() == 0:
                os.chmod(folder, 0o755)
            self._apt(
                ["apt-get", "download", "-q", *(package.exact for package in lacking)],
                FETCH_S_MAX, "packages cannot be fetched", folder=folder,
            )  # fmt: skip
            came = 0
            for path in sorted(Path(folder).glob("*.deb")):
                came += path.stat().st_size
                with path.open("rb") as file:
                    store.put_stream(pieces(file), durable=False)
        if lost := [package.exact for package in lacking if not store.has(package.ref)]:
            raise errors.Busy(f"the archive gave other files than its index names for {', '.join(lost[:5])}: try again")
        return came

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # apt inside has a limit, so this has one
            yield

    @contextlib.contextmanager
    def _status(self, below: Sequence[Package]) -> Iterator[Path]:
        """A dpkg database in which these packages are installed."""
        handle, name = tempfile.mkstemp(dir=self.folder / "status")
        with os.fdopen(handle, "w") as file:
            for package in below:
                file.write(package.control.replace("\n", "\nStatus: install ok installed\n", 1) + "\n\n")
        try:
            yield Path(name)
        finally:
            os.unlink(name)

    def _apt(
        self, command: list[str], seconds: float, trouble: str, *, folder: str = "/", cannot: type = errors.Busy
    ) -> str:
        options, words = [one for one in command if one.startswith("-o")], [one for one in command if one[:2] != "-o"]
        if not options:
            options = ["-oDir::State::status=/dev/null"]
        try:
            return _said([words[0], *self._options, *options, *words[1:]], seconds, folder)
        except subprocess.CalledProcessError as reason:
            lines = [line for line in str(reason.stderr).splitlines() if line[:2] in ("E:", "W:")] or [
                "it said nothing"
            ]
            said = [line for line in str(reason.stdout).splitlines() if ":" in line and line.startswith(" ")]
            raise cannot(f"{trouble}: {'; '.join([*lines, *said][:6])}") from None
        except subprocess.TimeoutExpired:
            raise errors.Busy(
                f"{trouble}: {words[0]} took longer than {seconds:g} s; is the archive reachable?"
            ) from None


def machine_suite() -> str:
    """The suite of this machine, by its name."""
    match = re.search(r'^VERSION_CODENAME="?([a-z]+)', RELEASE.read_text() if RELEASE.exists() else "", re.MULTILINE)
    if not match:
        raise errors.BadInput("this machine does not say which suite it is: write `suite` into [base]")
    return match.group(1)


def machine_sources(suite: str) -> str:
    """The apt sources of this machine that belong to its suite, for `suite`.  Raises `BadInput` if there are none."""
    own = machine_suite() if RELEASE.exists() else suite
    here = re.compile(rf"(?<![\w-]){re.escape(own)}(?=(-updates|-security|-backports)?(\s|/|$))")
    blocks: list[str] = []
    for path in sorted((*SOURCES.parent.glob("sources.list.d/*.sources"),)):
        for block in re.split(r"\n\s*\n", _without_comments(path.read_text())):
            if block.strip() and here.search(_field(block, "Suites")):
                blocks.append(re.sub(r"(?m)^Suites:.*$", lambda line: here.sub(suite, line.group()), block.strip()))
    if blocks:
        return "\n\n".join(blocks) + "\n"
    lines: list[str] = []
    for path in (SOURCES, *sorted(SOURCES.parent.glob("sources.list.d/*.list"))):
        text = _without_comments(path.read_text()) if path.exists() else ""
        lines += [here.sub(suite, line) for line in text.splitlines() if line.startswith("deb ") and here.search(line)]
    if not lines:
        raise errors.BadInput(f"this machine has no apt sources for {own}: write `sources` into [base]", suite=suite)
    return "\n".join(lines) + "\n"


def tools() -> str:
    """The versions of the programs whose work ends up in an image."""
    found = []
    for program in ("mmdebstrap", "apt-get", "dpkg", "tar"):
        path = shutil.which(program)
        if path is None:
            raise errors.BadInput(f"{program} is missing: apt-get install mmdebstrap (it brings apt, dpkg and tar)")
        status = os.stat(path)
        found.append(f"{program} {_tool_version(path, status.st_ino, status.st_mtime_ns)}")
    return ", ".join(found)


@functools.lru_cache(maxsize=64)
def _tool_version(path: str, inode: int, mtime_ns: int) -> str:
    """What a program says of itself; asked again when its file is another one."""
    match = re.search(r"\d[\w.+~:-]*", _said([path, "--version"]))
    return match.group() if match else "?"


@functools.cache
def _machine_architecture() -> str:
    return _said(["dpkg", "--print-architecture"]).strip()


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _field(stanza: str, name: str) -> str:
    match = re.search(rf"^{name}:[ \t]*(.*)$", stanza, re.MULTILINE)
    return match.group(1).strip() if match else ""


def _package(stanza: str) -> Package:
    digest = _field(stanza, "SHA256")
    if not digest:
        raise errors.BadInput(
            f"the index has no SHA256 of {_field(stanza, 'Package')}: its archive is too old to trust"
        )
    # Where a file lies, and hashes nobody needs, may change while the package does not.
    control = re.sub(r"(?m)^(Filename|MD5sum|SHA1|SHA512|Description-md5):.*\n?", "", stanza).rstrip()
    return Package(
        _field(stanza, "Package"), _field(stanza, "Version"), _field(stanza, "Architecture"),
        digest, int(_field(stanza, "Size")), control,
    )  # fmt: skip


def _plain(exact: str) -> str:
    name, _, version = exact.partition("=")
    return f"{name.partition(':')[0]}={version}"


def _said(command: list[str], seconds: float = ASK_S_MAX, folder: str = "/") -> str:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=seconds, cwd=folder, env=environment,
        stdin=subprocess.DEVNULL,
    ).stdout  # fmt: skip
