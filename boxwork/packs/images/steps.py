"""The boxes that make a root: each is a root and what is added to it in, and a root out.

Their inputs are all that can change the outcome: packages by their content, files by their content, scripts, users,
the time stamp and the versions of the tools.  So what two images have in common is built once, and the same step is
never run twice.
"""

from __future__ import annotations

import shlex
from typing import Any, cast

from boxwork import Tree, derivation, tree
from boxwork.packs.images.accounts import add_users, owner_ids
from boxwork.packs.images.chamber import install, scratch
from boxwork.packs.images.overlay import entry_at, merge, replace_files
from boxwork.packs.images.units import apply_services

# A step may call these: they find scratch space and run the tools, whose versions are an input.
_RUNS = [
    "subprocess",
    "tempfile",
    "os",
    "shutil",
    "threading",
    "chamber.install",
    "chamber.scratch",
    "install",
    "scratch",
]

# Part of the key of every step that runs a program: raise it when chamber.py changes what comes out.
CHAMBER_VERSION = "1"

# What makes a root whose /bin is /usr/bin from the start, for sets that have `usr-is-merged` in place of `usrmerge`.
MERGED = "/usr/share/mmdebstrap/hooks/merged-usr"

# apt as it is used inside a step: from the pool only, and nothing that was not resolved.
_APT = "-oAPT::Install-Recommends=false -oDir::Etc::sourceparts=/dev/null -oAPT::Sandbox::User=root"


@derivation(name="image_base", worker="thread", ignores=_RUNS, version=CHAMBER_VERSION)
def base(pool: Tree, packages: tuple[str, ...], variant: str, suite: str, epoch_s: int, tools: str, step: str) -> Tree:
    """A root out of nothing: the packages of `pool`, of which `packages` (name=version) are all that is installed.

    `tools` names the versions of what runs here; `step` is where the log goes.
    """
    store = cast(Any, pool.store)
    if not packages:
        return Tree(store.put(tree.encode([]), durable=False), store)
    chrootless = not any(package.startswith(("dpkg=", "dpkg:")) for package in packages)
    with scratch() as folder:
        tree.checkout(store, pool, folder / "pool", mode="copy")
        options = [f"--variant={'custom' if variant == 'none' else variant}", f"--include={','.join(packages)}"]
        if any(package.startswith("usr-is-merged=") for package in packages):
            options.append(f"--hook-dir={MERGED}")
        # The pool says no suite, and mmdebstrap would take none of its packages as essential if it looked for one.
        return install(
            store, step, None, options=options, hook=_tidy(), epoch_s=epoch_s,
            source=f"deb [trusted=yes] copy:{folder}/pool ./", folder=folder, chrootless=chrootless,
        )  # fmt: skip


@derivation(name="image_packages", worker="thread", ignores=_RUNS, version=CHAMBER_VERSION)
def packages(root: Tree, pool: Tree, packages: tuple[str, ...], epoch_s: int, tools: str, step: str) -> Tree:
    """A root with more packages in it: those of `pool`."""
    store = cast(Any, root.store)
    chrootless = entry_at(root, "usr/bin/dpkg") is None
    with scratch() as folder:
        tree.checkout(store, pool, folder / "pool", mode="copy")
        (folder / "pool.list").write_text(f"deb [trusted=yes] copy:{folder}/pool ./\n")
        where = '-oDPkg::Options::=--root="$1" -oDPkg::Options::=--force-script-chrootless'
        options = f"{_APT} -oDir::Etc::sourcelist={folder}/pool.list " + (
            where if chrootless else '-oDPkg::Chroot-Directory="$1"'
        )
        hook = (
            'export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"\n'
            f"apt-get {options} update\napt-get {options} --yes install {shlex.join(packages)}\n{_tidy()}"
        )
        return install(
            store, step, root, options=["--variant=custom", "--skip=update"], hook=hook, epoch_s=epoch_s,
            folder=folder, chrootless=chrootless,
        )  # fmt: skip


@derivation(name="image_script", worker="thread", ignores=_RUNS, version=CHAMBER_VERSION)
def script(root: Tree, text: str, epoch_s: int, tools: str, step: str) -> Tree:
    """A root in which a script has run: by its own /bin/sh, as root, without a network."""
    store = cast(Any, root.store)
    with scratch() as folder:
        (folder / "script").write_text(text)
        hook = f'chroot "$1" /bin/sh -e -s < {folder}/script 1>&2\n'
        return install(
            store, step, root, options=["--variant=custom", "--skip=update"], hook=hook, epoch_s=epoch_s, folder=folder
        )


@derivation(name="image_users", worker="thread")
def users(root: Tree, users: tuple[tuple[str, int, str, str, tuple[str, ...], str], ...], epoch_s: int) -> Tree:
    """A root with users: rows of name, uid (0: the next free one), home, shell, groups, comment."""
    store = cast(Any, root.store)
    return replace_files(store, root, add_users(root, users, epoch_s))


@derivation(name="image_files", worker="thread")
def files(root: Tree, overlay: Tree, owners: tuple[tuple[str, str], ...]) -> Tree:
    """A root with the files of `overlay` put over it; `owners` says whose they are, by path."""
    store = cast(Any, root.store)
    return merge(store, root, overlay, {path: owner_ids(root, owner) for path, owner in owners})


@derivation(name="image_services", worker="thread")
def services(root: Tree, enable: tuple[str, ...], disable: tuple[str, ...], mask: tuple[str, ...]) -> Tree:
    """A root in which these units of systemd are enabled, disabled and masked."""
    store = cast(Any, root.store)
    return apply_services(store, root, enable, disable, mask)


def _tidy() -> str:
    """What installing leaves behind that is different each time, or says where it was installed from."""
    return (
        'rm -f "$1/etc/apt/sources.list" "$1/var/log/apt/term.log" "$1/var/log/apt/history.log" "$1/var/log/dpkg.log"'
        ' "$1/var/log/alternatives.log" "$1/var/lib/dpkg/status-old" "$1/var/cache/ldconfig/aux-cache"\n'
    )
