"""A raw, messy table, made up: bookings, of which some are cancelled.  The same seed makes the same bytes.

What is wrong with it is what is wrong with real ones: repeated rows, missing values written in seven ways, numbers
with units among them, one word in three spellings, a constant column, an identifier, rows with too many fields, a
target that is missing; and `refund`, which is filled in after a booking was cancelled and gives the target away.
"""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np

COLUMNS = (
    "booking", "booked_on", "channel", "country", "adults", "nights", "lead_days", "price", "rating", "returning",
    "room", "currency", "comment", "refund", "cancelled",
)  # fmt: skip
CHANNELS = ("web", "phone", "agency", "app")
COUNTRIES = ("NO", "SE", "DK", "FI", "DE", "FR", "NL", "IT")
ROOMS = ("single", "double", "suite", "family")
BLANKS = ("", "NA", "n/a", "?", "null", " ", "-")
# Shares of the rows.
REPEATED, RAGGED, AIMLESS = 0.012, 0.0007, 0.006


def raw_table(rows: int, seed: int = 0, *, leak: bool = True) -> bytes:
    """A CSV of at least `rows` rows; those that are repeated come on top."""
    chance = np.random.default_rng(seed)
    columns = _columns(rows, chance, leak)
    names = [name for name in COLUMNS if leak or name != "refund"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    lines = list(zip(*(columns[name] for name in names), strict=True))
    again = set(chance.choice(rows, int(rows * REPEATED), replace=False).tolist())
    ragged = set(chance.choice(rows, int(rows * RAGGED), replace=False).tolist())
    for at, line in enumerate(lines):
        writer.writerow((*line, "oops", "") if at in ragged else line)
        if at in again and at not in ragged:
            writer.writerow(line)
    return text.getvalue().encode()


def _columns(rows: int, chance: Any, leak: bool) -> dict[str, Any]:
    """Each column as text."""
    channel = chance.choice(4, rows, p=(0.5, 0.12, 0.2, 0.18))
    country = chance.choice(8, rows)
    adults = chance.integers(1, 5, rows)
    nights = chance.geometric(0.3, rows)
    lead = chance.gamma(1.4, 40, rows).astype(int)
    room = chance.choice(4, rows, p=(0.2, 0.5, 0.1, 0.2))
    price = np.round(np.exp(chance.normal(4.6, 0.35, rows)) * (1 + 0.35 * room) * (1 + 0.1 * adults), 2)
    rating = np.clip(np.round(chance.normal(4.1, 0.6, rows), 1), 1, 5)
    returning = chance.random(rows) < 0.27
    day = chance.integers(0, 730, rows)
    odds = (
        -3.1
        + 0.018 * np.minimum(lead, 180)
        + 0.9 * (channel == 2)
        - 1.5 * returning
        + 0.35 * ((nights > 5) & (channel == 0))
        + 0.006 * (price - 150) * (room == 2)
        + 0.8 * np.sin(day / 58.0)
        - 0.4 * (rating - 4)
        + 0.3 * (country % 3 == 0)
    )
    cancelled = chance.random(rows) < 1 / (1 + np.exp(-odds))
    dates = np.datetime64("2024-01-01") + day.astype("timedelta64[D]")
    blank = np.array(BLANKS, dtype=object)

    def holes(values: Any, share: float) -> Any:
        text = np.array([str(value) for value in values], dtype=object)
        gone = chance.random(rows) < share
        text[gone] = blank[chance.integers(0, len(BLANKS), int(gone.sum()))]
        return text

    spelled = np.array([_spelled(CHANNELS[at], turn) for at, turn in zip(channel, chance.random(rows), strict=True)])
    cost = holes(price, 0.02)
    strange = chance.random(rows)
    cost = np.where(strange < 0.01, "on request", np.where(strange < 0.03, np.char.add("$", price.astype(str)), cost))
    made: dict[str, Any] = {
        "booking": [f"B{number:08d}" for number in chance.permutation(rows * 3)[:rows]],
        "booked_on": holes(dates, 0.004),
        "channel": spelled,
        "country": holes(np.array(COUNTRIES)[country], 0.03),
        "adults": holes(adults, 0.01),
        "nights": holes(nights, 0.0),
        "lead_days": holes(lead, 0.015),
        "price": cost,
        "rating": holes(rating, 0.35),
        "returning": np.where(returning, "yes", "no"),
        "room": holes(np.array(ROOMS)[room], 0.0),
        "currency": ["EUR"] * rows,
        "comment": holes([f"guest said {number:x}" for number in chance.integers(0, 2**40, rows)], 0.9),
        "cancelled": holes(np.where(cancelled, "yes", np.where(chance.random(rows) < 0.03, "No", "no")), AIMLESS),
    }
    if leak:
        paid = np.where(cancelled & (chance.random(rows) < 0.985), np.round(price * 0.8, 2).astype(str), "")
        made["refund"] = paid
    return made


def _spelled(word: str, turn: float) -> str:
    return word.upper() if turn < 0.02 else f"{word} " if turn < 0.05 else word
