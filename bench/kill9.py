"""Does `kill -9` while ingesting and deriving lose an acknowledged blob, or leave a wrong byte?

A child process puts blobs of all sizes, in both classes, alone, many together, as streams and pinned, and derives from
some of them; it says each ref aloud once the call has returned.  It is killed at a moment drawn from the seed.  Then
the directory is opened again: every ref that was said must be there, everything that is there must be what its name
promises, and every output must be the right one for its input.

    python bench/kill9.py --rounds 200
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import tempfile
import time
import warnings
from pathlib import Path

import boxwork
from boxwork.clock import SystemClock
from boxwork.content.content import Content
from boxwork.errors import BlobMissing
from boxwork.keys import Ref, ref_of
from boxwork.testing.stores import content_settings

# Between the first acknowledged blob and the kill.  Unit: seconds.
ALIVE_S = (0.0, 0.12)


@boxwork.derivation
def doubled(data: bytes) -> bytes:
    return data + data


def ingest(root: Path, seed: int, said_aloud: int) -> None:
    """The child: put until killed."""
    chance = random.Random(seed)
    work = boxwork.open(root)
    content = work.content
    for turn in range(1_000_000):
        durable = chance.random() < 0.5
        size = chance.choice([0, 10, 900, 4096, 32_768, 32_769, 100_000, 1_500_000])
        data = chance.randbytes(size) + b"%d %d" % (seed, turn)
        way = turn % 5
        if way == 0:
            said = [content.put(data, durable=durable)]
        elif way == 1:
            said = content.put_many([data, data[1:], chance.randbytes(50)], durable=durable)
        elif way == 2:
            said = [content.put_stream([data[at : at + 40_000] for at in range(0, len(data), 40_000)], durable=durable)]
        elif way == 3:
            said = [content.put(data, pin=f"pin {seed} {turn % 20}")]
        else:  # every second time with an input that the rounds before had too: a hit, or half of one
            data = data if turn % 2 else b"%d" % (turn % 40) * 5000
            said = [(ref := content.put(data)), work.derive(doubled, data=ref)]
            os.write(said_aloud, f"{said[0]}={said[1]}\n".encode())
        os.write(said_aloud, "".join(f"{ref}\n" for ref in said).encode())


def one_round(root: Path, seed: int) -> tuple[set[Ref], int, int]:
    """Acknowledged refs of one round; how many of them are lost; how many blobs have wrong bytes."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: the child starts from scratch
        child = os.fork()  # a new interpreter would take longer to start than it lives
    if child == 0:
        os.close(reading)
        ingest(root, seed, writing)
        os._exit(1)
    os.close(writing)
    with open(reading, "rb") as said:
        first = said.readline()
        time.sleep(random.Random(seed).uniform(*ALIVE_S))
        os.kill(child, signal.SIGKILL)
        lines = (first + said.read()).decode().split("\n")
    os.waitpid(child, 0)
    lines = lines[:-1]  # what follows the last line end was cut off by the kill
    acknowledged = {Ref.parse(line) for line in lines if "=" not in line}
    derived = [tuple(map(Ref.parse, line.split("="))) for line in lines if "=" in line]
    with contextlib.closing(Content(root, content_settings(), SystemClock())) as content:
        lost, wrong = check(content, acknowledged)
        wrong += sum(doubled(content.get(given)) != content.get(output) for given, output in derived)
        wrong += sum(ref_of(content.get(ref)) != ref for ref in content.refs())
        lost += sum(not content.durable.has(ref) for _, ref in content.pins())
    return acknowledged, lost, wrong


def check(content: Content, refs: set[Ref]) -> tuple[int, int]:
    lost = wrong = 0
    for ref in refs:
        try:
            wrong += ref_of(content.get(ref)) != ref
        except BlobMissing:
            lost += 1
    return lost, wrong


def run(root: Path, rounds: int, seed: int = 1) -> tuple[int, int, int]:
    """(acknowledged, lost, wrong) over all rounds; the directory is kept over ten of them, then made anew."""
    acknowledged = lost = wrong = 0
    for number in range(rounds):
        refs, round_lost, round_wrong = one_round(root / str(number // 10), seed + number)
        acknowledged += len(refs)
        lost += round_lost
        wrong += round_wrong
    return acknowledged, lost, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    from _report import report

    with tempfile.TemporaryDirectory(prefix="boxwork-kill9-") as root:
        acknowledged, lost, wrong = run(Path(root), options.rounds, options.seed)
    size = f"{acknowledged:,} acknowledged in {options.rounds} rounds"
    report(name=f"kill9.lost ({size})", value=lost, unit="blobs", peer="goal", peer_value=0)
    report(name=f"kill9.wrong ({size})", value=wrong, unit="blobs", peer="goal", peer_value=0)


if __name__ == "__main__":
    main()
