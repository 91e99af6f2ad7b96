from __future__ import annotations

import json
from pathlib import Path

import pytest

from boxwork.cli.program import run
from boxwork.packs.scans import commands, sample
from tests.packs.scans.stages import SCENES


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flat.usdz").write_bytes(sample.parametric())
    (tmp_path / "odd.usda").write_bytes(SCENES["with_losses"]()[0])
    return tmp_path


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_convert_writes_the_glb_and_says_what_was_lost(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["scans", "convert", "flat.usdz", "-o", "out.glb", "--profile", "unity"])
    assert "272 triangles" in (text := capsys.readouterr().out)
    assert "nothing was lost" in text
    assert (data / "out.glb").read_bytes().startswith(b"glTF")
    assert 0 == run(["scans", "convert", "odd.usda", "--json"])
    assert (8, "odd.glb") == (len(found["lost"]), found["file"]) if (found := said(capsys)) else False  # type: ignore[arg-type]
    assert 1 == run(["scans", "convert", "odd.usda", "--strict"])
    assert "lost: 1 x camera: cameras are not carried over (/Camera)" in capsys.readouterr().out


def test_measure_tells_values_with_their_intervals(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["scans", "measure", "flat.usdz"])
    assert "19.110 ± 0.400 m²" in capsys.readouterr().out
    assert 0 == run(["scans", "measure", "flat.usdz", "--json"])
    assert "parametric" == said(capsys)["form"]
    assert 0 == run(["scans", "measure", "flat.usdz", "--csv"])
    assert capsys.readouterr().out.startswith("what,measure,value,plus_minus,unit,how,uuid\n")


def test_scans_are_added_and_listed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["scans", "add", "flat.usdz"])
    capsys.readouterr()
    assert 0 == run(["scans", "list", "--json"])
    assert "flat.usdz" == said(capsys)["name"]
    assert 0 == run(["scans", "sample", "s", "--json"])
    assert ["s/flat.usdz", "s/room-mesh.usdz"] == said(capsys)["files"]


def test_mistakes_are_told_with_the_remedy(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, message in (
        (["convert", "gone.usdz"], "there is no file 'gone.usdz'"),
        (["convert", "flat.usdz", "-o", "no/where.glb"], "no/where.glb cannot be written: No such file"),
        (["convert", "flat.usdz", "--profile", "maya"], "gltf or unity, please"),
        (["add"], "boxwork scans add flat.usdz"),
        (["measure", "flat.usdz", "--set", "scans.bytes_max=10"], "(setting scans.bytes_max)"),
    ):
        assert 0 != run(["scans", *words])
        assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (data / "no").exists()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Exception, match="pip install 'boxwork\\[scans\\]'"):
        commands.needs()
