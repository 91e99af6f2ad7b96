"""Names whose answer depends on more than their arguments, and what to declare instead.

The table is looked up with the name of the object that is really read (`from time import time as now` is
`time.time`), so an alias hides nothing.
"""

from __future__ import annotations

import sys
import types
from typing import Literal, NamedTuple

Kind = Literal[
    "clock",
    "chance",
    "environment",
    "file",
    "network",
    "process",
    "dynamic",
    "machine",
    "address",
    "attribute",
    "seeded",
    "moment",
    "zone",
    "zoned",
    "locale",
    "path",
]


class Effect(NamedTuple):
    """`kind` decides what is asked; `what` and `advice` make the message; `argument` is where a path is given, or how
    many arguments make it harmless."""

    kind: Kind
    what: str
    advice: str = ""
    argument: int = 0
    keywords: tuple[str, ...] = ()


_CLOCK = Effect("clock", "reads the clock", "pass the time as an input")
_CHANCE = Effect("chance", "draws random numbers", "pass a seed as an input and make the generator from it")
_SEEDED = Effect("seeded", "draws random numbers", "pass a seed as an input and make the generator from it")
_ENVIRONMENT = Effect("environment", "reads the environment", "declare the variable")
_FILE = Effect(
    "file",
    "reads a file",
    "declare the file",
    keywords=("file", "path", "filename", "fname", "fp", "filepath_or_buffer", "name", "io", "filenames"),
)
_NETWORK = Effect("network", "talks to the network", "observe the reply once and pass it as an input")
_PROCESS = Effect("process", "runs another program", 'give its version in version="…" if only that can change it')
_DYNAMIC = Effect("dynamic", "finds code by a name that is only known when it runs", "call it by its name")
_MACHINE = Effect("machine", "asks about this machine or process", "pass the answer as an input")
_ADDRESS = Effect("address", "uses a number that differs in every process", "use keys made from the values")
_ATTRIBUTE = Effect(
    "attribute",
    "looks up an attribute whose name is only known when it runs",
    "write the attribute, or a dict from names to functions",
)
# Without a time as argument these take the time it is.
_MOMENT = Effect("moment", "reads the clock", "pass the time as an input", argument=1)
_ZONE = Effect("zone", "depends on the time zone")
_ZONED = Effect("zoned", "depends on the time zone")
_LOCALE = Effect("locale", "depends on the locale")
_PATH = Effect("path", "looks at the file system", "declare the file")


def _all(effect: Effect, module: str, names: str) -> dict[str, Effect]:
    return {f"{module}.{name}": effect for name in names.split()}


EFFECTS: dict[str, Effect] = {
    **_all(
        _CLOCK,
        "time",
        "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time"
        " process_time_ns thread_time thread_time_ns clock_gettime clock_gettime_ns",
    ),
    **_all(_CLOCK, "datetime.datetime", "now utcnow today"),
    **_all(_CLOCK, "datetime.date", "today"),
    **_all(_CLOCK, "pandas.Timestamp", "now utcnow today"),
    **_all(_CLOCK, "uuid", "uuid1 uuid6 uuid7"),
    **_all(_CHANCE, "uuid", "uuid4 uuid8"),
    **_all(_CHANCE, "os", "urandom getrandom"),
    **_all(_CHANCE, "random", "SystemRandom"),
    **_all(_SEEDED, "random", "Random"),
    **_all(_SEEDED, "numpy.random", "default_rng RandomState SeedSequence PCG64 MT19937 Philox SFC64 PCG64DXSM"),
    **_all(_ENVIRONMENT, "os", "environ environb getenv getenvb"),
    **_all(
        _MACHINE,
        "os",
        "getcwd getcwdb getpid getppid getuid geteuid getgid getlogin cpu_count uname getloadavg"
        " sched_getaffinity ctermid times umask get_terminal_size process_cpu_count",
    ),
    **_all(_MACHINE, "sys", "argv stdin orig_argv"),
    **_all(_MACHINE, "builtins", "input"),
    **_all(_MACHINE, "shutil", "which disk_usage get_terminal_size"),
    **_all(_MACHINE, "pathlib.Path", "cwd home"),
    **_all(_MACHINE, "os.path", "expanduser expandvars"),
    **_all(_MACHINE, "multiprocessing", "cpu_count current_process"),
    **_all(_MACHINE, "threading", "get_ident current_thread get_native_id active_count"),
    **_all(_PROCESS, "os", "system popen spawnl spawnv execv execve execvp fork posix_spawn"),
    **_all(_DYNAMIC, "builtins", "eval exec compile globals __import__"),
    **_all(_DYNAMIC, "importlib", "import_module reload __import__"),
    **_all(_DYNAMIC, "sys", "modules _getframe path meta_path"),
    **_all(_DYNAMIC, "runpy", "run_path run_module"),
    **_all(_DYNAMIC, "inspect", "currentframe stack getmembers getsource getsourcelines getsourcefile getdoc getfile"),
    **_all(_ADDRESS, "builtins", "id hash"),
    **_all(_ATTRIBUTE, "builtins", "getattr hasattr vars"),
    **_all(_ATTRIBUTE, "operator", "attrgetter methodcaller"),
    **_all(_FILE, "builtins", "open"),
    **_all(_FILE, "io", "open FileIO open_code"),
    **_all(_FILE, "codecs", "open"),
    **_all(_FILE, "os", "open stat lstat listdir scandir walk readlink access fwalk"),
    **_all(_FILE, "os.path", "exists isfile isdir getmtime getsize getctime getatime islink lexists realpath samefile"),
    **_all(_FILE, "glob", "glob iglob"),
    **_all(_FILE, "shutil", "copy copy2 copyfile copytree unpack_archive"),
    **_all(_FILE, "gzip", "open GzipFile"),
    **_all(_FILE, "bz2", "open BZ2File"),
    **_all(_FILE, "lzma", "open LZMAFile"),
    **_all(_FILE, "tarfile", "open TarFile is_tarfile"),
    **_all(_FILE, "zipfile", "ZipFile is_zipfile PyZipFile"),
    **_all(_FILE, "sqlite3", "connect"),
    **_all(_FILE, "shelve", "open"),
    **_all(_FILE, "dbm", "open"),
    **_all(_FILE, "linecache", "getline getlines"),
    **_all(_FILE, "wave", "open"),
    **_all(_FILE, "fileinput", "input FileInput"),
    **_all(_FILE, "importlib.resources", "files open_text open_binary read_text read_binary path"),
    **_all(_FILE, "pkgutil", "get_data"),
    **_all(_FILE, "numpy", "load loadtxt genfromtxt fromfile memmap"),
    **_all(
        _FILE,
        "pandas",
        "read_csv read_table read_fwf read_excel read_json read_html read_xml read_parquet"
        " read_feather read_orc read_hdf read_pickle read_sas read_spss read_stata",
    ),
    **_all(_FILE, "PIL.Image", "open"),
    **_all(_FILE, "PIL.ImageFont", "truetype load"),
    **_all(_FILE, "pyvips.Image", "new_from_file thumbnail"),
    **_all(_FILE, "imageio", "imread v3 v2"),
    **_all(_FILE, "joblib", "load"),
    **_all(_FILE, "cv2", "imread VideoCapture"),
    **_all(_FILE, "soundfile", "read SoundFile"),
    **_all(_FILE, "librosa", "load"),
    **_all(_FILE, "torch", "load"),
    **_all(_FILE, "h5py", "File"),
    **_all(_FILE, "rasterio", "open"),
    **_all(_FILE, "tifffile", "imread TiffFile"),
    **_all(_FILE, "polars", "read_csv read_parquet read_json read_excel read_ipc scan_csv scan_parquet"),
    **_all(_FILE, "geopandas", "read_file"),
    **_all(_FILE, "xarray", "open_dataset open_dataarray"),
    **_all(_FILE, "trimesh", "load"),
    **_all(_FILE, "openpyxl", "load_workbook"),
    **_all(_NETWORK, "asyncio", "open_connection start_server open_unix_connection"),
    **_all(_PROCESS, "asyncio", "create_subprocess_exec create_subprocess_shell"),
    **_all(_FILE, "scipy.io", "loadmat mmread"),
    **_all(_FILE, "scipy.io.wavfile", "read"),
    **_all(
        _PATH,
        "pathlib.Path",
        "read_text read_bytes open exists is_file is_dir stat lstat iterdir glob rglob"
        " resolve owner group is_symlink readlink walk samefile",
    ),
    **_all(_MOMENT, "time", "localtime gmtime ctime asctime"),
    "time.strftime": _MOMENT._replace(argument=2),
    **_all(_ZONE, "time", "mktime tzset tzname timezone altzone daylight"),
    **_all(_ZONED, "datetime.datetime", "fromtimestamp"),
    **_all(_ZONE, "datetime.date", "fromtimestamp"),
    **_all(_LOCALE, "calendar", "month_name day_name month_abbr day_abbr"),
}

# Modules of which every name has the effect, unless it stands above.
PREFIXES: dict[str, Effect] = {
    "random": _CHANCE,
    "numpy.random": _CHANCE,
    "secrets": _CHANCE,
    "socket": _NETWORK,
    "ssl": _NETWORK,
    "requests": _NETWORK,
    "httpx": _NETWORK,
    "aiohttp": _NETWORK,
    "urllib3": _NETWORK,
    "urllib.request": _NETWORK,
    "http.client": _NETWORK,
    "ftplib": _NETWORK,
    "smtplib": _NETWORK,
    "imaplib": _NETWORK,
    "xmlrpc.client": _NETWORK,
    "subprocess": _PROCESS,
    "pty": _PROCESS,
    "runpy": _DYNAMIC,
    "locale": _LOCALE,
    "platform": _MACHINE,
    "getpass": _MACHINE,
    "psutil": _MACHINE,
    "pwd": _MACHINE,
    "resource": _MACHINE,
    "ctypes": Effect("process", "calls foreign code", 'give its version in version="…"'),
}

# Names of those modules that only make values or types.
HARMLESS = frozenset(
    {
        "random.Random",
        "numpy.random.Generator",
        "numpy.random.BitGenerator",
        "secrets.compare_digest",
        "socket.AF_INET",
        "subprocess.CalledProcessError",
        "subprocess.TimeoutExpired",
        "subprocess.PIPE",
        "subprocess.DEVNULL",
        "subprocess.list2cmdline",
        "requests.RequestException",
        "requests.HTTPError",
        "socket.error",
        "socket.timeout",
        "socket.inet_aton",
        "socket.inet_ntoa",
        "socket.inet_pton",
        "socket.inet_ntop",
        "socket.ntohs",
        "socket.htons",
        "socket.ntohl",
        "socket.htonl",
        "urllib3.exceptions",
        "ssl.SSLError",
        "platform.python_version",
        "platform.python_implementation",
    }
)

# Streams that are written to; what they are does not change what is computed.
SILENT = frozenset({"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"})

# Methods that show the locale or the time zone on whatever they are called; they only add to the key.
ZONE_METHODS = frozenset({"astimezone", "timestamp", "strftime", "fromtimestamp", "localtime", "mktime", "ctime"})
LOCALE_METHODS = frozenset({"strftime", "strxfrm", "strcoll"})


def effect_of(name: str) -> Effect | None:
    """The effect of the object with this full name, or of the module it lives in."""
    found = EFFECTS.get(name)
    if found is not None or name in HARMLESS:
        return found
    head = name
    while "." in head:
        head = head.rpartition(".")[0]
        if head in HARMLESS:
            return None
        if head in PREFIXES:
            last = name.rpartition(".")[2]
            # Exceptions and constants of such a module are values like any other.
            return None if last.isupper() or last.endswith(("Error", "Exception", "Warning")) else PREFIXES[head]
        if head in EFFECTS and EFFECTS[head].kind in {"clock", "chance", "environment", "machine", "dynamic"}:
            return EFFECTS[head]
    return None


class Identities:
    """Full names of the listed objects by identity, for those that were imported by another name."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[object, str]] = {}
        self._modules: set[str] = set()
        self._imported = 0

    def name(self, value: object) -> str | None:
        self._refresh()
        known = self._known.get(id(value))
        if known is None and isinstance(value, types.MethodType):
            # `Path.cwd` is a new object at every look: it is known by its class.
            owner = self._known.get(id(value.__self__))
            return f"{owner[1]}.{value.__name__}" if owner is not None else None
        return known[1] if known is not None else None

    def _refresh(self) -> None:
        if len(sys.modules) == self._imported:
            return
        self._imported = len(sys.modules)
        for path in [path for path in _MODULES if path not in self._modules]:
            module = sys.modules.get(path)
            if module is None:
                self._class(path)
                continue
            self._modules.add(path)
            for last in _MODULES[path]:
                value = vars(module).get(last)
                if not isinstance(value, _SHARED):
                    self._known.setdefault(id(value), (value, f"{path}.{last}"))
            if path in PREFIXES:
                for last, value in list(vars(module).items()):
                    home = getattr(value, "__module__", None) or path
                    if callable(value) and not isinstance(value, type) and str(home).startswith(path):
                        self._known.setdefault(id(value), (value, f"{path}.{last}"))

    def _class(self, path: str) -> None:
        """A class by the name it is imported by: in Python 3.13 `pathlib.Path` calls itself `pathlib._local.Path`."""
        home, _, last = path.rpartition(".")
        kind = vars(sys.modules[home]).get(last) if home in sys.modules else None
        if not isinstance(kind, type):
            return
        self._modules.add(path)
        self._known.setdefault(id(kind), (kind, path))
        for method in _MODULES[path]:
            function = getattr(kind, method, None)
            if isinstance(function, types.FunctionType):
                self._known.setdefault(id(function), (function, f"{path}.{method}"))


# The interpreter shares such values: that `time.timezone` is 0 does not make every 0 a time zone.
_SHARED = (type(None), bool, int, float, complex, str, bytes, tuple, frozenset)

# Names by module; `builtins` comes first, so that `open` is not called `io.open`.
_MODULES: dict[str, list[str]] = {"builtins": [], **{path: list[str]() for path in PREFIXES}}
for _name in EFFECTS:
    _MODULES.setdefault(_name.rpartition(".")[0], []).append(_name.rpartition(".")[2])
