"""Every setting with its default, unit and reason.

A package declares what can be set in a tuple `SETTINGS`; this file only merges.  The order of precedence is
defaults < `boxwork.toml` < environment (`BOXWORK_CONTENT_INLINE_BYTES_MAX`) < flags.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from boxwork.errors import BadInput

Value = bool | int | float | str

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

ENVIRONMENT_PREFIX = "BOXWORK_"
TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}


@dataclass(frozen=True, slots=True)
class Setting:
    """A named, configured value: `name` is dotted (`content.inline_bytes_max`), `unit` may be empty."""

    name: str
    default: Value
    unit: str
    reason: str

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper().replace(".", "_")

    def parse(self, raw: object, source: str) -> Value:
        """`raw` as the type of the default; `source` is named in the error."""
        kind = type(self.default)
        try:
            if kind is bool:
                text = str(raw).lower()
                if text not in TRUE | FALSE:
                    raise ValueError(text)
                return text in TRUE
            if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
                raise TypeError
            value = kind(raw.replace("_", "") if kind is not str and isinstance(raw, str) else raw)
            # 3.7 is not an integer, and a limit of "nan" would hold nothing.
            cut = kind is int and isinstance(raw, float) and value != raw
            if cut or (isinstance(value, float) and not math.isfinite(value)):
                raise ValueError(raw)
            return value
        except (TypeError, ValueError, OverflowError):
            raise BadInput(
                f"setting {self.name} from {source} is {raw!r}; expected {kind.__name__}"
                f"{f' in {self.unit}' if self.unit else ''}, for example {self.default!r}",
                setting=self.name,
            ) from None


class Settings(Mapping[str, Value]):
    """The merged values; `where(name)` says which source set each one."""

    def __init__(self, values: Mapping[str, Value], sources: Mapping[str, str]) -> None:
        self._values = dict(values)
        self._sources = dict(sources)

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def where(self, name: str) -> str:
        """ "default", the path of the file, the name of the variable, or "flag"."""
        return self._sources[name]

    def integer(self, name: str) -> int:
        value = self._values[name]
        if isinstance(value, str):
            raise BadInput(f"setting {name} is {value!r}; expected a number", setting=name)
        return int(value)

    def number(self, name: str) -> float:
        return float(self._values[name])

    def text(self, name: str) -> str:
        return str(self._values[name])

    def flag(self, name: str) -> bool:
        return bool(self._values[name])


def merge(
    declared: Iterable[Setting],
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """All declared settings with their values; an unknown name in the file or the flags is an error."""
    known = {setting.name: setting for setting in declared}
    values: dict[str, Value] = {name: setting.default for name, setting in known.items()}
    sources = dict.fromkeys(known, "default")

    def apply(name: str, raw: object, source: str) -> None:
        if name not in known:
            near = sorted(n for n in known if n.split(".")[0] == name.split(".")[0]) or sorted(known)
            raise BadInput(
                f"{source} names the setting {name!r}, which does not exist; there are: {', '.join(near)}", setting=name
            )
        values[name] = known[name].parse(raw, source)
        sources[name] = source

    if file is not None and file.exists():
        try:
            tables = tomllib.loads(file.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as reason:
            raise BadInput(f"{file} cannot be read as TOML: {reason}", file=str(file)) from reason
        for name, raw in _dotted(tables):
            apply(name, raw, str(file))
    given = os.environ if environment is None else environment
    for name, setting in known.items():
        if setting.variable in given:
            apply(name, given[setting.variable], setting.variable)
    for name, raw in (flags or {}).items():
        apply(name, raw, "flag")
    return Settings(values, sources)


def _dotted(tables: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
