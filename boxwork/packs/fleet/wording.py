"""The fleet in words: what the command line says of a state, a host, a rollout, a difference."""

from __future__ import annotations

import datetime
from typing import Any

from boxwork.packs.fleet.roots import said


def moment(at_ns: int) -> str:
    return datetime.datetime.fromtimestamp(at_ns / 1e9, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def of_state(state: Any) -> str:
    source = state["source"]
    age = "never read" if source["age_s"] is None else f"good {source['age_s']:.0f} s ago"
    lines = [
        f"{state['hosts']} hosts, version {state['present']} (newest {state['latest']})",
        f"source  {source['name'] or 'none set'}, {age}" + (f"; {source['problem']}" if source["problem"] else ""),
        "hosts   " + ", ".join(f"{count} {word}" for word, count in sorted(state["conditions"].items())),
    ]
    lines += [of_rollout(one) for one in state["beside"]]
    if state["rollout"]:
        lines.append(of_rollout(state["rollout"]))
    return "\n".join(lines)


def of_rollout(rollout: Any) -> str:
    lines = [
        f"rollout {rollout['number']} to version {rollout['to']}: {rollout['state']},"
        f" {rollout['moved']} of {rollout['cohort']} hosts, by {rollout['who']}: {rollout['why']}"
    ]
    if rollout["waiting_for"]:
        lines.append(f"  waits for {rollout['waiting_for']}")
    lines += [
        f"  {moment(event['at_ns'])}  {event['what']} by {event['who']}: {event['why']}" for event in rollout["events"]
    ]
    return "\n".join(lines)


def of_host(found: Any) -> str:
    assigned, status = found["assigned"], found["status"]
    lines = [f"{found['host']}: {found['condition']}"]
    if assigned:
        back = ", a way back" if assigned["rollback"] else ""
        lines.append(f"  shall be release {assigned['release']} (position {assigned['position']}{back})")
    if status:
        report = status["report"]
        lines.append(
            f"  is release {report['release']} (position {report['position']}), said {moment(status['at_ns'])}"
        )
        if status["failure"]:
            lines.append(f"  failed position {status['failed']}: {status['failure']}")
        lines += [f"  drift: {drift['path']} {drift['kind']}" for drift in report.get("drift", ())]
    lines += [
        f"  override for {one['scope']}: {one['column']}={one['value']} by {one['who']},"
        f" {moment(one['at_ns'])}: {one['why']}"
        for one in found["overrides"]
    ]
    root = (found["content"] or {}).get("root")
    if root:
        lines.append(f"  stands on the root {root['tree']}; laid over it:")
    lines += [f"  {file['mode']} {file['bytes']:>8} {file['path']}" for file in found["files"]]
    return "\n".join(lines)


def of_difference(found: Any) -> str:
    lines = [f"rows: {found['rows']}"]
    lines += [f"package {said(row)}" for row in found["packages"]]
    for file in [*found["root_files"], *found["files"]]:
        lines += [f"{file['kind']} {file['path']}", *(f"  {line}" for line in file["lines"])]
    return "\n".join(lines)
