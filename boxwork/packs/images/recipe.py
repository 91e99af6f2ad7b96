"""A recipe: what somebody wants an image to be, as a value or a TOML file.

A recipe says what is wanted (`nginx-light`), never which version: that is found out when it is resolved.  The steps
always come in the same order (base, packages, users, files, scripts, services), so that recipes which begin alike
share the build of what they share.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from boxwork import errors

Variant = Literal["none", "essential", "apt", "minbase"]

# What every time stamp in an image is, unless the recipe says another one: 2025-01-01.  Unit: seconds since 1970.
EPOCH_S = 1_735_689_600
# A recipe is written by hand.  Unit: bytes.
RECIPE_BYTES_MAX = 1024 * 1024
# How deep recipes may stand on each other.  Unit: recipes.
PARENTS_MAX = 16

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}").fullmatch
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*(:[a-z0-9-]+)?(=[A-Za-z0-9.+:~-]+)?").fullmatch
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}").fullmatch
_UNIT = re.compile(r"[A-Za-z0-9@:._\\-]{1,255}").fullmatch
_MODE = re.compile(r"[0-7]{3,4}").fullmatch
_FIELD = re.compile(r"[^:\n]*").fullmatch


class Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an image begins.

    suite         of the archive; empty: that of this machine
    variant       essential, apt, minbase as mmdebstrap has them; "none" begins empty: a system extension
    sources       apt sources, as text (deb822 or one line each); empty: those of this machine, for its suite
    architecture  empty: that of this machine
    """

    suite: str = ""
    variant: Variant = "minbase"
    packages: tuple[str, ...] = ()
    sources: str = ""
    architecture: str = ""


class FileRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One path of the image: a text, a file or a folder beside the recipe, or a link.

    `mode` is octal; of a folder only the files' modes are kept.  `owner` is `user` or `user:group`, by name or number.
    """

    text: str | None = None
    source: str = ""
    link: str = ""
    mode: str = ""
    owner: str = "0:0"


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user with a group of the same name.  Nobody can log in by password: keys and certificates are files."""

    name: str
    uid: int = 0
    home: str = ""
    shell: str = "/usr/sbin/nologin"
    groups: tuple[str, ...] = ()
    comment: str = ""


class Services(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Units of systemd, as `systemctl enable`, `disable` and `mask` would leave them."""

    enable: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"parent": "from"}):
    """What an image shall be.  `folder` is where its files lie; it is not part of the value.

    parent    the recipe it stands on (in TOML: `from`), by the name of its file without `.toml`
    scripts   run in the image by its own /bin/sh, as root, without a network, each a step of its own
    """

    name: str
    base: Base = Base()
    parent: str = ""
    packages: tuple[str, ...] = ()
    users: tuple[User, ...] = ()
    files: dict[str, FileRule] = {}
    scripts: tuple[str, ...] = ()
    services: Services = Services()
    epoch_s: int = EPOCH_S
    folder: str = ""

    def __post_init__(self) -> None:
        if fault := _fault(self):
            raise errors.BadInput(f"the recipe {self.name[:80]!r}: {fault}", recipe=self.name[:80])


def read(path: Path) -> Recipe:
    """The recipe in a TOML file.  Raises `BadInput` with the line or field that is wrong."""
    try:
        with path.open("rb") as file:
            raw = file.read(RECIPE_BYTES_MAX + 1)
        if len(raw) > RECIPE_BYTES_MAX:
            raise errors.BadInput(
                f"{path} has more than {RECIPE_BYTES_MAX} bytes: put large texts into files beside it"
            )
        return parse(raw.decode(), path.stem, str(path.resolve().parent))
    except OSError as reason:
        raise errors.BadInput(f"{path} cannot be read: {reason.strerror}", path=str(path)) from reason
    except UnicodeDecodeError as reason:
        raise errors.BadInput(f"{path} is no UTF-8: {reason}", path=str(path)) from reason


def parse(text: str, name: str, folder: str = "") -> Recipe:
    """The recipe that this TOML spells; `name` is what it is called if it does not say."""
    try:
        fields: dict[str, Any] = tomllib.loads(text)
        if isinstance(fields.get("services"), list):
            fields["services"] = {"enable": fields["services"]}
        files = fields.get("files", {})
        if isinstance(files, dict):
            fields["files"] = {
                path: {"source": rule} if isinstance(rule, str) else rule for path, rule in files.items()
            }
        return msgspec.convert({"name": name, **fields, "folder": folder}, Recipe)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as reason:
        raise errors.BadInput(f"the recipe {name!r} cannot be read: {reason}", recipe=name) from reason


def lineage(recipe: Recipe) -> list[Recipe]:
    """The recipe after all it stands on, the first one first."""
    line = [recipe]
    while line[0].parent:
        above = read(Path(line[0].folder) / f"{line[0].parent}.toml")
        if len(line) == PARENTS_MAX or any(above.name == one.name for one in line):
            raise errors.BadInput(f"{recipe.name} stands on itself, or on more than {PARENTS_MAX} recipes")
        line.insert(0, above)
    return line


def _fault(recipe: Recipe) -> str:
    """What is wrong with it; empty if nothing is."""
    if not _NAME(recipe.name):
        return "a name has 1 to 64 of a-z, 0-9, dot, dash and underscore"
    for package in (*recipe.base.packages, *recipe.packages):
        if not _PACKAGE(package):
            return f"{package!r} is no package: write name, name:arch or name=version"
    if recipe.parent and recipe.base != Base():
        return f"it stands on {recipe.parent!r}, so it has no [base] of its own"
    if not 0 <= recipe.epoch_s < 1 << 33:
        return f"epoch_s = {recipe.epoch_s} is no time between 1970 and 2242"
    return _fault_of_files(recipe.files) or _fault_of_users(recipe.users) or _fault_of_services(recipe.services)


def _fault_of_files(files: dict[str, FileRule]) -> str:
    for path, rule in files.items():
        if not path.startswith("/") or any(step in ("", ".", "..") for step in path[1:].split("/")):
            return f"{path!r} is no absolute path of the image"
        if (rule.text is not None) + bool(rule.source) + bool(rule.link) != 1:
            return f"{path}: give one of text, source and link"
        if rule.mode and not _MODE(rule.mode):
            return f'{path}: mode is octal, like "0644", not {rule.mode!r}'
    return ""


def _fault_of_users(users: tuple[User, ...]) -> str:
    for user in users:
        if not _USER(user.name):
            return f"{user.name!r} is no name of a user"
        for value in (user.home, user.shell, user.comment, *user.groups):
            if not _FIELD(value):
                return f"user {user.name}: {value!r} has a colon or a line break"
    return ""


def _fault_of_services(services: Services) -> str:
    for unit in (*services.enable, *services.disable, *services.mask):
        if not _UNIT(unit):
            return f"{unit!r} is no name of a unit"
    return ""
