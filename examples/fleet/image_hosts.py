"""From nothing to three hosts that run an operating system image, follow it, and leave a bad one by themselves.

Needs root, mmdebstrap, dpkg-dev and Debian's essential packages (tools/essential-debs fetches them).  The hosts are
those of three_hosts.py: network namespaces.  On each, a service runs inside the image, which is its root.

    version 1   the image is built, the release stands on it, the service starts
    version 2   a file of the image changes: a new process takes over, nobody is drained
    version 3   a package changes: the hosts are drained one after another
    version 4   a package that is broken: the first host goes back by itself, the others never have it
    by hand     the network of a host is cut; it goes back to version 2
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

from three_hosts import HOSTS, Walk, arguments, ip, prepared, say, stay, until

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
DEBS = Path(os.environ.get("BOXWORK_TEST_DEBS", CHECKOUT / ".cache" / "debs"))
# A first build installs some ninety packages.  Unit: s.
BUILD_S = 300.0


def package(archive: Path, version: str, *, broken: bool = False) -> None:
    """Put the service's package into the archive, in place of the version before."""
    work = archive / "work"
    program = work / "usr/bin/greeter"
    program.parent.mkdir(parents=True)
    text = (HERE / "greeter.pl").read_text().replace("VERSION", version)
    program.write_text(text.replace("use strict;", "use Not::There;") if broken else text)
    program.chmod(0o755)
    (work / "DEBIAN").mkdir()
    fields = {"Package": "greeter", "Version": version, "Architecture": "all", "Depends": "perl-base"}
    fields |= {"Maintainer": "nobody <nobody@localhost>", "Description": "greets"}
    (work / "DEBIAN/control").write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
    for old in archive.glob("*.deb"):
        old.unlink()
    deb = archive / f"greeter_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", work, deb], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(work)
    listed = subprocess.run(["dpkg-scanpackages", "."], cwd=archive, check=True, capture_output=True)
    (archive / "Packages").write_bytes(listed.stdout)


def recipe(place: Path, greeting: str) -> Path:
    """Write the image's recipe."""
    path = place / "web.toml"
    path.write_text(f"""
packages = ["greeter"]

[base]
variant = "essential"
suite = "example"
sources = \"\"\"
deb [trusted=yes] copy:{DEBS} ./
deb [trusted=yes] copy:{place / "archive"} ./
\"\"\"

[files]
"/etc/greeter/greeting" = {{ text = "{greeting}\\n" }}
""")
    return path


def walk(one: Walk) -> None:
    """The walk itself; every claim it prints was looked at first."""
    archive = one.place / "archive"
    archive.mkdir()
    package(archive, "1.0")
    said = one.boxwork("images", "build", str(recipe(one.place, "hello")), within_s=BUILD_S)
    say(f"the image is built: {next(line for line in said.splitlines() if line.startswith('web'))}")
    one.start_server("host\n" + "".join(f"{host}\n" for host in HOSTS))
    for number, host in enumerate(HOSTS):
        one.start_host(number, host)
    one.publish(HERE / "image_release", "the first version")
    until("version 1 runs everywhere, inside the image", one.all_greet("hello, greeter 1.0"))
    for host in HOSTS:
        check_inside(one, host)
    say("each service has the image as its root, with the owners that the image says")
    over(one)

    recipe(one.place, "good day")
    one.boxwork("images", "check", within_s=BUILD_S)
    until("a file of the image changed: version 2 runs everywhere", one.all_greet("good day, greeter 1.0"))
    assert [0, 0, 0] == [one.status(host)["drains"] for host in HOSTS]
    say("nobody was drained for it")
    over(one)

    package(archive, "1.1")
    one.boxwork("images", "check", within_s=BUILD_S)
    until("a package changed: version 3 runs everywhere", one.all_greet("good day, greeter 1.1"))
    assert [1, 1, 1] == [one.status(host)["drains"] for host in HOSTS]
    why = next(row["why"] for row in one.history() if row["what"] == "version 3")
    assert why == "images/web: greeter 1.0 → 1.1", why
    say(f"every host was drained once for it; the reason that the fleet gives: {why}")
    over(one)

    package(archive, "1.2", broken=True)
    one.boxwork("images", "check", within_s=BUILD_S)
    until("a broken package came: the first host took it and went back", lambda: any(map(one.went_back, HOSTS)))
    until("all hosts greet as version 3 does, still", one.all_greet("good day, greeter 1.1"))
    over(one)
    took = [host for host in HOSTS if "not healthy" in one.log(host) or "Not/There.pm" in one.log(host)]
    assert len(took) == 1, f"the rollout did not stop at the first host: {took}"
    say(f"only {took[0]} ever saw version 4; the rollout stopped there")
    until("nothing on the hosts differs from their version", lambda: not any(one.status(h)["drift"] for h in HOSTS))

    ip("-n", one.spaces[0], "link", "set", "eth0", "down")
    by_hand = ("--json", "fleet", "agent", "rollback", "2", "--root", str(one.root(HOSTS[0])))
    answer = json.loads(one.boxwork(*by_hand, space=one.spaces[0]))
    ip("-n", one.spaces[0], "link", "set", "eth0", "up")
    until(
        f"web1, cut off from the network, went back to version 2 by hand, switched in {answer['switch_ms']:.2f} ms",
        lambda: one.greeting(0).startswith("good day, greeter 1.0"),
    )


def over(one: Walk) -> None:
    """Wait until no rollout is going."""
    until("the rollout is over", lambda: "running" not in one.boxwork("fleet", "rollout", "status"))


def check_inside(one: Walk, host: str) -> None:
    """The service's root is the version, and files of the image have their owners."""
    pid = int((one.root(host) / "greeter.pid").read_text())
    root = Path(f"/proc/{pid}/root")
    assert root.samefile(one.root(host) / "current"), os.readlink(root)
    assert (root / "dev/null").is_char_device(), "the host's /dev"
    assert not (one.root(host) / "current/dev/null").exists(), "no device is part of a version"
    shadow = (one.root(host) / "current/etc/shadow").stat()
    assert (0, 42) == (shadow.st_uid, shadow.st_gid), shadow
    assert (one.root(host) / "current/usr/bin/passwd").stat().st_mode & 0o4000


class ImageWalk(Walk):
    """The same hosts; visitors are greeted with what the image says."""

    def all_greet(self, text: str) -> Callable[[], bool]:
        return lambda: all(self.greeting(at) == f"{text}, on {host}" for at, host in enumerate(HOSTS))

    def history(self) -> list[dict[str, str]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/fleet/history", timeout=10) as answer:
            return list(json.loads(answer.read()))

    def went_back(self, host: str) -> bool:
        return "went back" in self.log(host)


def told(one: Walk) -> str:
    """What a person can do with it while it is kept."""
    data = f"boxwork --data {one.place / 'data'} --set serve.port={one.port}"
    return f"""
  it goes on running; Ctrl-C ends it and takes everything away.  Meanwhile:

  watch it            http://127.0.0.1:{one.port}/fleet and http://127.0.0.1:{one.port}/images/web
  visit a host        curl http://10.117.{one.second}.2:8080/    (web1; .6 is web2, .10 web3)
  change the image    {one.place / "web.toml"}, then {data} images check
  what differs        {data} fleet diff 2 3
  spoil a host        echo oops > {one.root("web2")}/current/etc/greeter/greeting    (drift: shown within 5 s)"""


def main() -> None:
    given = arguments(__doc__)
    if os.geteuid():
        raise SystemExit("network namespaces and owners need root: run it with sudo, or in a container as root")
    if lacking := [tool for tool in ("mmdebstrap", "dpkg-scanpackages") if shutil.which(tool) is None]:
        raise SystemExit(f"there is no {lacking[0]} here: apt-get install mmdebstrap dpkg-dev")
    if not (DEBS / "Packages").exists():
        subprocess.run([CHECKOUT / "tools" / "essential-debs", DEBS], check=True)
    with prepared(given.port, given.second, ImageWalk) as one:
        walk(one)
        if given.keep:
            stay(told(one))


if __name__ == "__main__":
    main()
