"""The page of one model: its figures class by class, its confusion, and where its predictions come from."""

from __future__ import annotations

from html import escape
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from boxwork import errors
from boxwork.packs.compare.parts import base_of, crumbs, head, lineage_link, page, scrolling

# Classes whose confusion is drawn; the table of classes has all.
CONFUSION_CLASSES_MAX = 20
# Shades of a cell, see compare.css.
SHADES = 10
# How deep a lineage is drawn; the table is three steps below a training.
DEPTH_SHOWN = 6


def model_page(request: Request, outlook: Any, name: str, number: int, model: str) -> Response:
    base = base_of(request)
    view = outlook.run(name, number)
    row = next((row for row in view["board"]["rows"] if row["name"] == model), None)
    if row is None or row["score"] is None:
        known = ", ".join(row["name"] for row in view["board"]["rows"] if row["score"])
        raise errors.NotFound(f"run {number} of {name} has no trained model {model[:80]!r}; it has {known}")
    score = row["score"]
    here = f"{base}/compare/{escape(name)}"
    params = ", ".join(f"{key} = {value}" for key, value in sorted(row["params"].items())) or "its library's parameters"
    wrong = (
        f'<a class="button" href="{here}/wrong.json?model={quote(model, safe="")}&amp;number={number}">Wrong rows</a>'
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(one["name"])}</th><td class="number">{one["precision"]:.4f}</td>'
        f'<td class="number">{one["recall"]:.4f}</td><td class="number strong">{one["f1"]:.4f}</td>'
        f'<td class="number">{one["rows"]:,}</td></tr>'
        for one in score["classes"]
    )
    heads = "".join(
        f'<th scope="col"{" class=number" if at else ""}>{head}</th>'
        for at, head in enumerate(("Class", "Precision", "Recall", "F1", "Test rows"))
    )
    main = (
        head(crumbs(base, name, number), model, f"{row['framework']} {row['version']} · {params}", wrong)
        + _figures(score)
        + "<section><h2>Class by class</h2>"
        + scrolling("Class by class", f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>")
        + "</section>"
        + _confusion(score)
        + _lineage(base, outlook.work, row["key"])
    )
    return page(request, f"{model} in {name}", main)


def _figures(score: dict[str, Any]) -> str:
    told = "".join(
        f"<div><dt>{said}</dt><dd><b>{score[field]:.4f}</b>"
        f' <span class="quiet">{score[field + "_interval"][0]:.4f} to {score[field + "_interval"][1]:.4f}</span></dd>'
        "</div>"
        for said, field in (("Macro F1", "macro_f1"), ("Weighted F1", "weighted_f1"), ("Accuracy", "accuracy"))
    )
    return (
        f'<dl class="card facts">{told}</dl><p class="quiet under">Intervals at {score["level"]:.0%}, by'
        f" {score['resamples']:,} bootstrap resamples of {score['rows']:,} test rows.</p>"
    )


def _confusion(score: dict[str, Any]) -> str:
    names = [one["name"] for one in score["classes"]]
    if len(names) > CONFUSION_CLASSES_MAX:
        said = f"{len(names)} classes are too many to draw; the data has the matrix."
        return f'<section><h2>Confusion</h2><p class="quiet">{said}</p></section>'
    heads = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in names)
    rows = ""
    for at, (name, counts) in enumerate(zip(names, score["confusion"], strict=True)):
        whole = sum(counts)
        cells = "".join(
            f'<td class="number heat{_shade(count, whole)}{" right" if at == other else ""}">{count:,}'
            f"<small>{count / whole if whole else 0:.1%}</small></td>"
            for other, count in enumerate(counts)
        )
        rows += f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
    caption = "Rows are the truth, columns what was predicted; shares are of the row."
    head = f'<tr><th scope="col"><span class="visually-hidden">Truth</span></th>{heads}</tr>'
    table = (
        f'<table class="confusion"><caption class="quiet">{caption}</caption>'
        f"<thead>{head}</thead><tbody>{rows}</tbody></table>"
    )
    return f"<section><h2>Confusion</h2>{scrolling('Confusion', table)}</section>"


def _shade(count: int, whole: int) -> int:
    return round(SHADES * count / whole) if whole else 0


def _lineage(base: str, work: Any, key: str) -> str:
    """Where the predictions come from, down to the table: boxes, inputs, versions.

    By the key of the training: two models that predict the same have one output, and its last maker is one of them.
    """
    try:
        told = work.why(key).as_json()
    except errors.NotFound:  # the row was trimmed; the prediction is still there
        return ""
    return (
        '<section aria-labelledby="lineage"><h2 id="lineage">Lineage</h2>'
        f'<ul class="card lineage">{_derived(base, told, 0)}</ul></section>'
    )


def _derived(base: str, told: dict[str, Any], depth: int) -> str:
    inputs = "".join(
        f"<li><code>{escape(name)} = {escape(str(value))}</code></li>" for name, value in told["inputs"].items()
    )
    versions = ", ".join(told["versions"]) or "none"
    below = "".join(_derived(base, one, depth + 1) for one in told.get("lineage", ())) if depth < DEPTH_SHOWN else ""
    return (
        f'<li><p><b>{escape(told["box"])}</b> <span class="quiet">in {told["duration_ms"] / 1e3:,.2f} s</span></p>'
        f"<p>{lineage_link(base, told['output']['ref'])}</p>"
        f"<details><summary>inputs and versions</summary><ul>{inputs}</ul>"
        f'<p class="quiet">{escape(versions)}</p></details>{f"<ul>{below}</ul>" if below else ""}</li>'
    )


# --- parts
