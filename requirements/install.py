"""Make `.venv` hold exactly the pinned packages of the named layers, and Boxwork itself.

usage: python3 requirements/install.py LAYER…        (run, test, servers, docs, bench, uv)

It runs on the bare system Python, of any version 3.6 or newer so that it can say what is missing, and imports
nothing but the standard library.  What is installed is remembered as copies of the lock files in
`.venv/installed`; when they are equal nothing is done, and that takes some 20 ms.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

PYTHON_MIN = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
INSTALLED = VENV / "installed"
# Lines of pip's output shown when it fails: its own summary is at the end.
LOG_LINES_SHOWN = 25


def main(layers):
    leave_old_python()
    wanted = {}
    for layer in layers:
        lock = LOCKS / (layer + ".lock")
        if not lock.is_file():
            there = ", ".join(sorted(path.stem for path in LOCKS.glob("*.lock")))
            stop("there is no layer {!r}; there are: {}".format(layer, there))
        wanted[layer] = lock.read_text()
    # The entry points and the version of Boxwork come from this file.
    wanted["project"] = (ROOT / "pyproject.toml").read_text()
    if not usable():
        make_environment()
    if read("place") is None:
        record("place", str(VENV))
    for layer in layers:
        if read(layer) != wanted[layer]:
            total = sum(line[:1].isalnum() for line in wanted[layer].splitlines())
            install(
                "Installing the pinned packages of '{}'".format(layer),
                ["--require-hashes", "--no-deps", "-r", str(LOCKS / (layer + ".lock"))],
                total,
            )
            record(layer, wanted[layer])
    if read("project") != wanted["project"] or not (VENV / "bin" / "boxwork").exists():
        # Its build backend is one of the pinned packages, so nothing is fetched here.
        install("Installing boxwork", ["--no-deps", "--no-build-isolation", "--no-index", "-e", str(ROOT)], 0)
        record("project", wanted["project"])


def leave_old_python():
    """Go on with a newer Python when `python3` is an old one and a newer one is there."""
    if sys.version_info >= PYTHON_MIN:
        return
    for minor in range(20, PYTHON_MIN[1] - 1, -1):
        newer = shutil.which("python3.{}".format(minor))
        if newer:
            os.execv(newer, [newer, *sys.argv])
    stop(
        "Boxwork needs Python {}.{} or newer; {} is {}.{}.  Debian 12+ and Ubuntu 24.04+ have it: "
        "apt-get install python3 python3-venv".format(*PYTHON_MIN, sys.executable, *sys.version_info[:2])
    )


def usable():
    """Whether the environment was made here and its interpreter is still the one it was made with.

    One that somebody made in another way is taken over, not wiped.
    """
    interpreter = PYTHON.resolve().name  # python3.11, after all symbolic links; another one after an upgrade
    made_for_it = (VENV / "lib" / interpreter).is_dir() or "." not in interpreter
    return PYTHON.exists() and made_for_it and read("place") in (None, str(VENV))


def make_environment():
    try:
        import ensurepip  # noqa: F401  Debian ships it apart from Python
        import venv
    except ImportError:
        stop(
            "Python's venv module is missing.  On Debian and Ubuntu: apt-get install python3-venv"
            "  (or python{}.{}-venv)".format(*sys.version_info[:2])
        )
    say("Making .venv with Python {}.{}.{}".format(*sys.version_info[:3]))
    try:
        venv.EnvBuilder(with_pip=True, clear=True, symlinks=True).create(str(VENV))
    except (OSError, subprocess.CalledProcessError) as reason:
        shutil.rmtree(str(VENV), ignore_errors=True)
        stop("{} could not be made: {}".format(VENV, reason))


def install(title, arguments, total):
    """Run pip, show one line of progress, and its last words when it fails."""
    command = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
        *arguments,
    ]
    # These would send the packages elsewhere, or bring in others.
    foreign = ("PIP_USER", "PIP_TARGET", "PIP_REQUIREMENT", "PYTHONHOME", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in foreign}
    shown = sys.stderr.isatty()
    log, count, begin = [], 0, time.monotonic()
    say(title + "…", end="" if shown else "\n")
    pip = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        universal_newlines=True,
        errors="replace",
    )
    for line in pip.stdout:
        log.append(line)
        if line.startswith(("Collecting ", "Requirement already satisfied: ", "Ignoring ")):
            count += 1
            if shown:
                say("\r\033[K{}, {} of {}".format(title, count, total), end="")
        elif line.startswith("Installing collected") and shown:
            say("\r\033[K{}, unpacking…".format(title), end="")
    if shown:
        say("\r\033[K", end="")
    if pip.wait() == 0:
        if shown:
            say("{}: done in {:.0f} s".format(title, time.monotonic() - begin))
        return
    (VENV / "pip.log").write_text("".join(log))
    say("".join(log[-LOG_LINES_SHOWN:]))
    stop(
        "pip could not install what Boxwork needs (above: its last words; all of them: .venv/pip.log).  "
        "It needs a package index that it can reach; run the same command again to go on where it stopped."
    )


def read(name):
    try:
        return (INSTALLED / name).read_text()
    except OSError:
        return None


def record(name, text):
    INSTALLED.mkdir(exist_ok=True)
    (INSTALLED / name).write_text(text)


def say(text, end="\n"):
    sys.stderr.write(text + end)
    sys.stderr.flush()


def stop(text):
    say("error: " + text)
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:] or ["run"])
