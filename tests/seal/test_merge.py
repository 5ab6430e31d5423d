"""Merging: groups, order, marks, duplicates, versions, and a page that is safe to open."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sealed_fixture import Sealed
from sealed_runs import Members, cells, rewritten, with_environment, with_rows

from jetson_benchmark import main
from savbench.results.rows import SummaryRow, without_figures

pytest.importorskip("matplotlib", reason="draws the page")
pytest.importorskip("jinja2", reason="writes the page")

Archive = Callable[..., Path]


@pytest.fixture
def archive(sealed: Sealed, tmp_path: Path) -> Archive:
    """Archives of the same run as if it had been made elsewhere."""

    def make(name: str, *, submitter: str = "", without: tuple[str, str] | None = None, **columns: Any) -> Path:
        def change(members: Members) -> None:
            def moved(row: SummaryRow) -> None:
                row.validity, row.power_source, row.run_id = "ok", "jtop", name
                row.benchmark_version = "a" * 12
                for column, value in columns.items():
                    setattr(row, column, value)
                if (row.video, row.object) == without:
                    vars(row).update(vars(without_figures(row, "oom", "out of memory; use a smaller --imgsz")))

            with_rows(members, moved, tmp_path)
            lines = members["frames.csv"].decode().splitlines(True)
            members["frames.csv"] = "".join(line for line in lines if without is None or f",{','.join(without)}," not in line).encode()
            about = json.loads(members["run.json"])
            members["run.json"] = json.dumps({**about, "run_id": name}).encode()
            with_environment(members, lambda i: i[0].update(benchmark={"commit": "a" * 40, "dirty": False}))
            members["manifest.json"] = json.dumps({**json.loads(members["manifest.json"]), "submitter": submitter}).encode()

        return rewritten(sealed.archive, tmp_path / f"{name}.zip", change, mends_sums=True)

    return make


def merged(tmp_path: Path, *paths: Path, status: int = 0, flags: tuple[str, ...] = ()) -> tuple[list[Any], str]:
    """Lines of the CSV, and the page."""
    assert main(["merge", *map(str, paths), "-o", str(tmp_path / "board.html"), *flags]) == status
    return cells((tmp_path / "board.csv").read_bytes()), (tmp_path / "board.html").read_text(encoding="utf-8")


def test_boards_and_modes_have_tables_of_their_own(archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [
        archive("nano", device_name="Orin Nano", nvpmodel="MAXN", submitter="Jane"),
        archive("nano15", device_name="Orin Nano", nvpmodel="15W"),
        archive("agx", device_name="AGX Orin", nvpmodel="MAXN"),
    ]
    lines, page = merged(tmp_path, *paths)
    boards = [("AGX Orin", "MAXN"), ("Orin Nano", "15W"), ("Orin Nano", "MAXN")]
    assert [(line["board"], line["power_mode"]) for line in lines] == boards
    assert [line["check"] for line in lines] == ["pass", "pass", "pass"]
    assert lines[2]["submitter"] == "Jane"
    assert (lines[2]["objects"], lines[2]["objects_of_table"]) == ("6", "6")
    assert float(lines[2]["latency_p50_ms"]) <= float(lines[2]["latency_p90_ms"])
    for board in boards:
        assert f"<h2>{', '.join(board)}: sav_tiny, 6 objects, protocol version 1</h2>" in page
    assert page.count("<svg") == 2 * 3
    assert "Orin Nano, 15W: sav_tiny" in capsys.readouterr().out


def test_a_line_names_every_setting_that_is_not_upstreams(archive: Archive, tmp_path: Path) -> None:
    path = archive("nano", keyframe="3:hold", runtime="onnx", compile="encoder", memory_selection="samurai")
    [line], _ = merged(tmp_path, path)
    for setting in ("keyframe 3:hold", "runtime onnx", "compile encoder", "samurai"):
        assert setting in line["arm"]


def test_percentiles_of_two_kinds_of_frames_are_told(archive: Archive, tmp_path: Path) -> None:
    mixed = archive("nano", keyframe="3", key_latency_p50_ms=21.5, between_latency_p50_ms=4.0)
    _, page = merged(tmp_path, mixed, status=1)
    assert "its percentiles mix two kinds of frames: p50 21.50 ms of those that the model saw, p50 4.000 ms of those between." in page
    assert "two kinds of frames" not in merged(tmp_path, archive("every"))[1]


def test_what_is_worse_is_marked_and_stands_last(archive: Archive, tmp_path: Path) -> None:
    on = {"device_name": "Orin", "nvpmodel": "MAXN"}
    lines, page = merged(
        tmp_path,
        archive("cheat", **on, J=0.9, F=0.9, JandF=0.9),
        archive("part", **on, without=("beta", "001")),
        archive("sound", **on),
        status=1,
    )
    assert [(line["file"], line["marks"]) for line in lines] == [("sound.zip", ""), ("part.zip", "§"), ("cheat.zip", "")]
    assert [line["check"] for line in lines] == ["pass", "warn: coverage", "fail: rows"]
    assert "§ scores are over fewer objects than the 6 of this table" in page
    assert "✗ static_mask" in page
    assert "✗ the archive fails its check: not to be quoted." in page


def test_a_run_counts_once(archive: Archive, sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = archive("one", device_name="Orin", submitter="Jane")
    again = Path(shutil.copy(first, tmp_path / "again.zip"))
    lines, _ = merged(tmp_path, first, again)
    assert [line["file"] for line in lines] == ["one.zip"]
    assert "again.zip is the same run as one.zip; counted once" in capsys.readouterr().out
    other = rewritten(first, tmp_path / "other.zip", lambda m: with_rows(m, lambda row: setattr(row, "seed", 7), tmp_path), mends_sums=True)
    lines, _ = merged(tmp_path, first, other)
    assert len(lines) == 2
    assert "one.zip and other.zip state the same run, with different rows: one of them was changed" in capsys.readouterr().out


def test_versions_are_merged_on_request_only(archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [archive("old", device_name="Orin"), archive("new", device_name="Orin", protocol_version=2)]
    assert main(["merge", *map(str, paths), "-o", str(tmp_path / "board.html")]) == 2
    assert "version 1: old.zip; version 2: new.zip); merge those of one version, or give --force" in capsys.readouterr().err
    assert not (tmp_path / "board.html").exists()
    lines, _ = merged(tmp_path, *paths, flags=("--force",))
    assert [line["protocol_version"] for line in lines] == ["1", "2"]


def test_other_data_under_the_same_names_are_marked(archive: Archive, tmp_path: Path) -> None:
    one = archive("one", device_name="Orin")

    def other_data(members: Members) -> None:
        manifest = json.loads(members["manifest.json"])
        manifest["split"]["videos"]["beta"]["frames_sha256"] = "0" * 64
        members["manifest.json"] = json.dumps(manifest).encode()
        about = json.loads(members["run.json"])
        members["run.json"] = json.dumps({**about, "run_id": "two"}).encode()
        with_rows(members, lambda row: setattr(row, "run_id", "two"), tmp_path)

    lines, page = merged(tmp_path, one, rewritten(one, tmp_path / "two.zip", other_data, mends_sums=True))
    assert [line["marks"] for line in lines] == ["", "¶"]
    assert "¶ two.zip was measured on other data: beta: other frames (13 and 13)." in page


def test_what_strangers_wrote_does_nothing(archive: Archive, tmp_path: Path) -> None:
    lines, page = merged(tmp_path, archive("evil", device_name="<script>alert(1)</script>", submitter="=HYPERLINK(1)\x1b[31m\nx"))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "default-src 'none'" in page
    assert lines[0]["submitter"] == "'=HYPERLINK(1) x"


def test_archives_that_cannot_be_read_are_named(archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.zip").write_text("hello")
    lines, page = merged(tmp_path, archive("good", device_name="Orin"), tmp_path / "text.zip", status=1)
    assert len(lines) == 1
    assert "text.zip: not a whole archive" in page
    assert main(["merge", str(tmp_path / "text.zip"), "-o", str(tmp_path / "none.html")]) == 2
    assert "no archive has figures: text.zip: not a whole archive" in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "good.zip"), "-o", str(tmp_path / "none.pdf")]) == 2
    assert "give a name that ends in .html" in capsys.readouterr().err
