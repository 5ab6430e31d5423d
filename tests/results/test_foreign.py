from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from compare_files import LEGACY_WITH_PRECISION, LEGACY_WITH_PROXY, row, rows, write, write_legacy

from savbench.data.csv_file import InputError
from savbench.results.foreign import load_results


def test_rows_of_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "nano"
    folder.mkdir()
    write(folder / "summary.csv", [row(J=0.25, latency_ms=40.0), row("v1", "001", imgsz=None, max_frames=60)])
    results = load_results([folder])
    assert results.labels == ["nano"]
    assert results.notes == []
    assert results.rows["JandF"].tolist() == [0.25, 0.5]
    assert results.rows["fps"].tolist() == [25.0, 50.0]
    assert results.rows["line"].tolist() == [2, 3]
    assert results.rows["imgsz"].tolist() == ["1024", "none"]
    assert results.rows["max_frames"].tolist() == ["all", "60"]
    assert results.rows["nvpmodel"].tolist() == ["?", "?"]


def test_columns_in_any_order_and_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("J,room,object,arm_id,model,latency_ms,video\n0.5,cellar,0,x,m,20,v\n0.5,attic,1.0,x,m,20,v\n")
    found = load_results([path]).rows
    assert found["room"].tolist() == ["cellar", "attic"]
    assert found["object"].tolist() == ["000", "001"]
    assert found["J"].tolist() == [0.5, 0.5]
    assert np.isnan(found["F"]).all()


def test_an_older_file_with_precision(tmp_path: Path) -> None:
    first_cells = {"video": "v", "object": "0", "model": "sam2_base_points", "imgsz": "768.0", "precision": "FP16", "fps": 3, "J": 0.7}
    without_figures = {"video": "w", "object": "0", "model": "sam2_base_points", "imgsz": "768", "precision": "fp16"}
    path = write_legacy(tmp_path / "old.csv", LEGACY_WITH_PRECISION, [first_cells, without_figures])
    results = load_results([path])
    first = results.rows.iloc[0]
    assert (first["model"], first["prompt"], first["imgsz"], first["autocast_dtype"]) == ("sam2_base", "points", "768", "float16")
    assert (first["weights"], first["device"], first["attention"]) == ("?", "?", "?")
    assert results.rows["failure"].tolist() == ["", "no figures"]
    assert results.legacy == {"old"}
    assert any("whole-clip" in note for note in results.notes)


def test_a_proxy_is_not_taken_for_j_and_f(tmp_path: Path) -> None:
    cells = {"video": "v", "object": "0", "model": "edgetam", "imgsz": 1024, "fps": 5, "latency_ms": 200, "J": 0.6, "JandF_proxy": 0.9}
    results = load_results([write_legacy(tmp_path / "old.csv", LEGACY_WITH_PROXY, [cells])])
    assert np.isnan(results.rows["JandF"][0])
    assert results.rows["JandF_proxy"][0] == "0.9"
    assert results.rows["autocast_dtype"][0] == "?"
    assert any("JandF_proxy is not J&F" in note for note in results.notes)


def test_loading_in_the_first_row_of_a_model_is_flagged(tmp_path: Path) -> None:
    def cells(number: int, **other: float) -> dict[str, object]:
        return {"video": f"v{number}", "object": "0", "model": "m", "imgsz": 1024, "fps": 5, "latency_ms": 200, "setup_ms": 50, **other}

    slow = load_results(
        [write_legacy(tmp_path / "slow.csv", LEGACY_WITH_PROXY, [cells(0, latency_ms=700), *(cells(n) for n in range(1, 5))])]
    )
    (note,) = [note for note in slow.notes if "loading" in note]
    assert "line 2: m latency_ms 3.5 times the median" in note
    assert "--center median" in note
    even = load_results([write_legacy(tmp_path / "even.csv", LEGACY_WITH_PROXY, [cells(n) for n in range(5)])])
    assert not any("loading" in note for note in even.notes)


def test_failed_rows_take_from_their_arm_what_they_died_before(tmp_path: Path) -> None:
    dead = row("v1", latency_ms=None, status="oom", error="out of memory", weights="", device="", device_name="", torch_version="")
    found = load_results([write(tmp_path / "run.csv", [row(), dead, row("v2", weights="b" * 64, arm_id="other")])]).rows
    assert found["weights"].str[0].tolist() == ["a", "a", "b"]
    assert found["device_name"].tolist() == ["Orin"] * 3
    assert found["failure"].tolist() == ["", "oom", ""]


def test_power_mode_of_a_run_comes_from_its_environment(tmp_path: Path) -> None:
    write(tmp_path / "summary.csv", rows(1))
    environment = {"invocations": [{"power_mode": None}, {"power_mode": {"name": "15W", "id": 0}}]}
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    assert set(load_results([tmp_path]).rows["nvpmodel"]) == {"15W"}


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("latency_ms", "fast", r":3: column latency_ms: 'fast' is not a number"),
        ("imgsz", "large", r":3: column imgsz: 'large' is not a number"),
        ("fps", "inf", r":3: column fps: inf is not finite"),
        ("J", "78.5", r":3: column J: 78.5 is not in its range, 0 to 1; divide percentages by 100"),
        ("latency_ms", "-1", r":3: column latency_ms: -1 is not in its range, 0 or more"),
        ("video", "", r":3: no video"),
    ],
)
def test_bad_cells_are_named_with_their_line(tmp_path: Path, column: str, text: str, message: str) -> None:
    lines = write(tmp_path / "run.csv", rows(2)).read_text().splitlines()
    position = lines[0].split(",").index(column)
    cells = lines[2].split(",")
    cells[position] = text
    lines[2] = ",".join(cells)
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=message) as caught:
        load_results([path])
    assert str(path) in str(caught.value)


def test_a_count_may_exceed_one(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("video,object,model,arm_id,latency_ms,J,identity_switches\nv,0,m,x,20,0.5,3\n")
    assert load_results([path]).rows["identity_switches"].tolist() == [3.0]
    path.write_text(path.read_text().replace(",3\n", ",-1\n"))
    with pytest.raises(InputError, match=r":2: column identity_switches: -1 is not in its range, 0 or more"):
        load_results([path])


def test_nan_is_missing_and_said(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("video,object,model,arm_id,latency_ms,J\nv,0,m,x,20,nan\nw,0,m,x,NaN,N/A\n")
    results = load_results([path])
    assert results.rows["J"].isna().all()
    assert f"{path}:2: column J: nan (and 1 more rows); taken as missing" in results.notes
    assert f"{path}:3: column latency_ms: NaN; taken as missing" in results.notes


def test_files_with_other_columns_are_read_together(tmp_path: Path) -> None:
    new = write(tmp_path / "new.csv", rows(1))
    old = write_legacy(
        tmp_path / "old.csv", LEGACY_WITH_PROXY, [{"video": "v", "object": "0", "model": "m", "J": 0.5, "cudnn_benchmark": 1}]
    )
    found = load_results([new, old]).rows
    assert found["cudnn_benchmark"].tolist() == ["", "", "1"]
    assert found["error"].tolist() == ["", "", ""]


def test_labels_tell_files_apart(tmp_path: Path) -> None:
    paths = []
    for name in ("nano/summary.csv", "agx/summary.csv", "x/run.csv", "y/run.csv"):
        (tmp_path / name).parent.mkdir()
        paths.append(write(tmp_path / name, rows(1)))
    assert load_results(paths).labels == ["nano", "agx", "x/run", "y/run"]
    assert load_results([paths[2], paths[2]]).labels == ["run#1", "run#2"] or load_results([paths[2], paths[2]]).labels[0].endswith("#1")


def test_details_within_cells_are_read_as_columns(tmp_path: Path) -> None:
    streamed = row(
        camera_fps=24.0, streaming_J=0.5, streaming_clock="live", streaming_device="Orin", shared="2 objects", rails_mean_w={"CPU": 2.0}
    )
    found = load_results([write(tmp_path / "run.csv", [streamed, row("v1")])]).rows
    assert found["streaming_J"][0] == 0.5
    assert np.isnan(found["streaming_J"][1])
    assert found["streaming_clock"][0] == "live"
    assert [*found["tracked"]] == ["in a shared session", "alone"]
    assert [*found["rails_mean_w"]] == ['{"CPU":2.0}', ""]
    assert not {"streaming", "session", "power_details"} & set(found.columns)


def test_a_cell_that_holds_no_object_is_refused_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "run.csv", [row(), row("v1", shared="2 objects")])
    path.write_text(path.read_text().replace('"{""shared"":""2 objects""}"', "2 objects"))
    with pytest.raises(InputError, match=r"run\.csv:3: column session: '2 objects' is not a JSON object; correct or empty the cell"):
        load_results([path])


def test_a_resave_by_pandas_with_na_rep_reads_as_before(tmp_path: Path) -> None:
    """Text columns full of NaN made every row invalid, and part of a shared session."""
    listed = [*rows(3), row("v9", latency_ms=None, status="error", error="went wrong")]
    before = load_results([write(tmp_path / "run.csv", listed)]).rows
    cells = pd.read_csv(tmp_path / "run.csv", dtype=str)
    cells.to_csv(tmp_path / "run.csv", na_rep="NaN", index=False)
    results = load_results([tmp_path / "run.csv"])
    pd.testing.assert_frame_equal(results.rows, before)
    assert [note for note in results.notes if "na_rep" in note] == results.notes
