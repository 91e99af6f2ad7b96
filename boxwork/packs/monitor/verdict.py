"""From results to what is certain: soft and hard states, and flapping.  Pure: time comes with the results.

As Nagios has it: a bad result is *soft* until `attempts` of them came one after another, then the state is *hard*.
A check flaps when it changes too often: of the last 21 results each change counts, the newest 1.2, the oldest 0.8
("Detection and Handling of State Flapping" of the Nagios manual); above 30 % it begins, below 20 % it ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from boxwork.packs.monitor.outcome import OK

WINDOW = 21
FLAPS_ABOVE = 0.30
CALM_BELOW = 0.20


class Status(msgspec.Struct, frozen=True):
    """How a check stands.

    state      of the newest result; since_ns when it became that
    hard       the last certain state; hard_since_ns when it became that
    attempt    how many bad results came one after another, at most `attempts`
    episode    grows whenever the check becomes certainly bad after it was well
    closed     the episode that a person has closed: it opens nothing any more
    """

    state: int = OK
    hard: int = OK
    attempt: int = 0
    since_ns: int = 0
    hard_since_ns: int = 0
    episode: int = 0
    closed: int = 0
    flapping: bool = False
    text: str = ""

    @property
    def is_soft(self) -> bool:
        return self.state != self.hard


def step(before: Status, window: Sequence[int], state: int, text: str, at_ns: int, attempts: int) -> Status:
    """The status after one more result; `window` are the results up to and with this one, the oldest first."""
    share = flapping_share(window)
    flapping = share >= FLAPS_ABOVE or (before.flapping and share > CALM_BELOW)
    attempt = 0 if state == OK else min(before.attempt + 1, attempts)
    is_hard = state == OK or before.hard != OK or attempt >= attempts
    hard = state if is_hard else before.hard
    is_new = hard != before.hard
    return msgspec.structs.replace(
        before,
        state=state,
        hard=hard,
        attempt=attempt,
        since_ns=before.since_ns if state == before.state and before.since_ns else at_ns,
        hard_since_ns=at_ns if is_new or not before.hard_since_ns else before.hard_since_ns,
        episode=before.episode + (before.hard == OK and hard != OK),
        flapping=flapping,
        text=text if is_new or state != before.state or not before.text else before.text,
    )


def flapping_share(window: Sequence[int]) -> float:
    """How much of the window is change, between 0 and 1; results that are not there yet changed nothing."""
    last = list(window)[-WINDOW:]
    most = WINDOW - 1
    begin = WINDOW - len(last)
    weighed = 0.0
    for place in range(1, len(last)):
        if last[place] != last[place - 1]:
            weighed += 0.8 + 0.4 * (begin + place - 1) / (most - 1)
    return weighed / most
