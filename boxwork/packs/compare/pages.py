"""The pages: comparisons, and one run with its alarms, its leaderboard and what cleaning did.

Written by the server and without a script, so that they can be read, printed and kept as they are.
"""

from __future__ import annotations

from html import escape
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from boxwork.packs.compare.drawing import axis, axis_text, interval
from boxwork.packs.compare.parts import base_of, crumbs, head, lineage_link, page, scrolling, seconds, time

# Runs and classes that are named.
NUMBERS_SHOWN = 12
LEVEL_WORDS = {"leak": "leak", "suspect": "look at it", "note": "note"}


def list_page(request: Request, outlook: Any) -> Response:
    base = base_of(request)
    cards = "".join(_card(base, row) for row in outlook.all())
    empty = (
        '<div class="card empty"><h2>Nothing was compared yet</h2>'
        '<p class="quiet">Take a table of your own, or a made-up one:</p>'
        '<pre tabindex="0">boxwork compare sample bookings.csv\n'
        "boxwork compare run bookings.csv --target cancelled</pre></div>"
    )
    about = "Models and frameworks on one table, by F1 and accuracy. What did not change is not trained again."
    return page(request, "Compare", head("", "Compare", about) + f'<div class="cards">{cards or empty}</div>')


def _card(base: str, row: dict[str, Any]) -> str:
    alarms = "".join(f'<span class="tag bad">alarm: {escape(name)}</span>' for name in row["leaks"][:3])
    tie = f", in a tie with {row['ties']} more" if row["ties"] else ""
    return (
        f'<article class="card one"><h2><a href="{base}/compare/{escape(row["name"])}">{escape(row["name"])}</a>'
        f"{alarms}</h2><p><strong>{escape(row['best'])}</strong>{tie}</p>"
        f'<p class="figures"><span>macro F1 <b>{row["macro_f1"]:.3f}</b></span>'
        f" <span>accuracy <b>{row['accuracy']:.3f}</b></span></p>"
        f'<p class="quiet">{row["models"]} models predict {escape(row["target"])} · {row["rows_out"]:,} of'
        f" {row['rows_in']:,} rows · run {row['number']} · {time(row['at_ns'])}</p></article>"
    )


def run_page(request: Request, outlook: Any, name: str, number: int) -> Response:
    base = base_of(request)
    view = outlook.run(name, number)
    board, here = view["board"], f"{base}/compare/{escape(name)}"
    about = (
        f"{board['target']} in {view['table_name']} · {_split_words(view['plan']['split'])} ·"
        f" {board['rows_train']:,} rows to learn from, {board['rows_test']:,} to test with"
    )
    data = f'<a class="button" href="{here}/run.json?number={view["number"]}">As data</a>'
    main = (
        head(crumbs(base), f"{name} run {view['number']}", about, data)
        + _picker(here, outlook.numbers(name), view["number"])
        + _alarms(board)
        + _leaderboard(here, view)
        + _report(board)
        + _columns(board)
        + _kept(base, view)
    )
    return page(request, f"{name} run {view['number']}", main)


def _split_words(split: dict[str, Any]) -> str:
    if split["column"]:
        return f"split by {split['by']} ({split['column']})"
    return f"split {split['by']}, seed {split['seed']}"


def _picker(here: str, numbers: list[int], number: int) -> str:
    if len(numbers) < 2:
        return ""
    links = "".join(
        f'<a href="{here}/{one}"{" aria-current=page" if one == number else ""}>{one}</a>'
        for one in numbers[:NUMBERS_SHOWN]
    )
    return f'<nav class="pick" aria-label="Runs"><span class="quiet">Run</span> {links}</nav>'


def _alarms(board: dict[str, Any]) -> str:
    """The alarms, and what else must be known before the figures."""
    rows = "".join(
        f'<li class="{alarm["level"]}"><span class="tag {_tone(alarm["level"])}">{LEVEL_WORDS[alarm["level"]]}</span>'
        f"<div><p>{escape(alarm['says'])}.</p>"
        f'<p class="quiet">{escape(alarm["remedy"])}.</p></div></li>'
        for alarm in board["alarms"]["alarms"]
    )
    said = [text for text in board["warnings"] if not any(text.startswith(a["says"]) for a in _serious(board))]
    others = "".join(f'<li><span class="tag">mind</span><div><p>{escape(text)}</p></div></li>' for text in said)
    if not rows and not others:
        return '<p class="card quiet">No alarm: no column alone knows the target, no row is in both parts.</p>'
    serious = " loud" if _serious(board) else ""
    return (
        f'<section aria-labelledby="alarms"><h2 id="alarms">Before you read the figures</h2>'
        f'<ul class="card alarms{serious}">{rows}{others}</ul></section>'
    )


def _serious(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [alarm for alarm in board["alarms"]["alarms"] if alarm["level"] != "note"]


def _leaderboard(here: str, view: dict[str, Any]) -> str:
    board = view["board"]
    scale = axis([row["score"] for row in board["rows"] if row["score"] and row["kind"] != "dummy"])
    rows = "".join(_model_row(here, view, at, row, scale) for at, row in enumerate(board["rows"]))
    named = sorted({alarm["column"] or "rows in both parts" for alarm in _serious(board)})
    alarmed = "".join(f' <span class="tag bad">alarm: {escape(name)}</span>' for name in named)
    level = next((row["score"]["level"] for row in board["rows"] if row["score"]), 0.95)
    heads = (
        '<th scope="col">#</th><th scope="col">Model</th><th scope="col" class="number">Macro F1</th>'
        f'<th scope="col" class="minor">{level:.0%} interval<br><span class="ends">{axis_text(scale)}</span></th>'
        '<th scope="col" class="number minor">Weighted F1</th><th scope="col" class="number">Accuracy</th>'
        '<th scope="col" class="number minor">Trained in</th><th scope="col" class="number minor">Predicted in</th>'
    )
    table = f'<table class="board"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return (
        f"<section><h2>Leaderboard{alarmed}</h2>{scrolling('Leaderboard', table)}"
        '<p class="quiet under">Sorted by macro F1. A tie: the interval of the difference to the best, on the same'
        " resampled test rows, holds zero. Times are of the machine and the hour they were measured at, one thread"
        " each.</p></section>"
    )


def _model_row(here: str, view: dict[str, Any], at: int, row: dict[str, Any], scale: tuple[float, float]) -> str:
    link = f'<a href="{here}/{view["number"]}/model/{quote(row["name"], safe="")}">{escape(row["name"])}</a>'
    by = "always there" if row["kind"] == "dummy" else f"{row['framework']} {row['version']}"
    if row["score"] is None:
        return (
            f'<tr class="failed"><td>–</td><th scope="row">{escape(row["name"])}<small>{escape(by)}</small></th>'
            f'<td colspan="6"><span class="tag bad">failed</span> {escape(row["failed"])}</td></tr>'
        )
    score, times = row["score"], row["times"] or {}
    tags = ""
    if row["versus"] is not None and row["versus"]["tie"]:
        tags = ' <span class="tag now">tie</span>'
    elif row["kind"] != "dummy" and not row["beats_dummy"]:
        tags = ' <span class="tag bad">no better than the dummy</span>'
    said = "; ".join(times.get("said", ()))
    warned = f'<small class="warned">{escape(said)}</small>' if said else ""
    return (
        f"<tr{' class=dummy' if row['kind'] == 'dummy' else ''}><td>{row['rank']}</td>"
        f'<th scope="row">{link}{tags}<small>{escape(by)}</small>{warned}</th>'
        f'<td class="number strong">{score["macro_f1"]:.4f}</td>'
        f'<td class="minor">{interval(score["macro_f1"], score["macro_f1_interval"], scale)}</td>'
        f'<td class="number minor">{score["weighted_f1"]:.4f}</td><td class="number">{score["accuracy"]:.4f}</td>'
        f'<td class="number minor">{seconds(times, "fit")}</td>'
        f'<td class="number minor">{seconds(times, "predict")}</td></tr>'
    )


def _report(board: dict[str, Any]) -> str:
    report = board["report"]
    gone = "".join(f"<li><b>{step['rows']:,}</b> {escape(step['what'])}</li>" for step in report["steps"])
    classes = ", ".join(escape(name) for name in board["classes"][:NUMBERS_SHOWN])
    return (
        '<section aria-labelledby="cleaning"><h2 id="cleaning">What cleaning did</h2><div class="card">'
        f"<p><b>{report['rows_in']:,}</b> rows in, <b>{report['rows_out']:,}</b> out;"
        f" <b>{report['columns_in']}</b> columns in, <b>{report['columns_out']}</b> out."
        f" {escape(board['target'])} has {len(board['classes'])} classes: {classes}.</p>"
        f'<ul class="gone">{gone}</ul></div></section>'
    )


def _columns(board: dict[str, Any]) -> str:
    alarmed = {alarm["column"] for alarm in _serious(board)}
    alone = {told["column"]: told["macro_f1"] for told in board["alarms"]["columns"]}
    rows = "".join(
        f'<tr><th scope="row">{escape(column["name"])}</th><td class="minor">{escape(column["kind"])}</td>'
        f'<td><span class="tag {_deed(column["action"])}">{escape(column["action"])}</span></td>'
        f'<td class="number minor">{column["distinct"]:,}</td><td class="number">{column["missing"]:,}</td>'
        f'<td class="number minor{" alarmed" if column["name"] in alarmed else ""}">'
        f"{_figure(alone.get(column['name']))}</td>"
        f"<td>{escape('; '.join(filter(None, [column['why'], *column['notes']])))}</td></tr>"
        for column in board["columns"]
    )
    heads = (
        '<th scope="col">Column</th><th scope="col" class="minor">Kind</th><th scope="col">Became</th>'
        '<th scope="col" class="number minor">Distinct</th><th scope="col" class="number">Missing</th>'
        '<th scope="col" class="number minor">Macro F1 alone</th><th scope="col">What was done, and why</th>'
    )
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<section><h2>Columns</h2>{scrolling('Columns', table)}</section>"


def _kept(base: str, view: dict[str, Any]) -> str:
    refs = (("Cleaned table", "cleaned"), ("Split", "split"), ("Leaderboard", "board_ref"))
    listed = f"<div><dt>Table</dt><dd><code>{view['table']}</code> ({view['table_bytes'] / 1e6:,.1f} MB)</dd></div>"
    listed += "".join(f"<div><dt>{said}</dt><dd>{lineage_link(base, view[field])}</dd></div>" for said, field in refs)
    ran = f"{view['ran']} derivations were computed, {view['known']} remembered, in {view['took_ns'] / 1e9:,.1f} s"
    return (
        '<section aria-labelledby="kept"><h2 id="kept">What it is made of</h2><dl class="card facts">'
        f"{listed}<div><dt>Run</dt><dd>{time(view['at_ns'])} by {escape(view['who'] or 'nobody in particular')}: {ran}"
        "</dd></div></dl></section>"
    )


def _tone(level: str) -> str:
    return {"leak": "bad", "suspect": "now"}.get(level, "")


def _deed(action: str) -> str:
    return {"kept": "on", "target": "now"}.get(action, "")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
