from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from compare_files import LEGACY_WITH_PROXY, row, rows, write, write_legacy

from savbench.compare.pairing import Plan, plan_comparison
from savbench.compare.protocol import RefusedError
from savbench.data.csv_file import InputError
from savbench.results.foreign import load_results
from savbench.results.rows import SummaryRow


def plan(tmp_path: Path, *files: list[SummaryRow], **options: Any) -> Plan:
    paths = [write(tmp_path / f"{name}.csv", listed) for name, listed in zip("ABC", files, strict=False)]
    return plan_comparison(load_results(paths), **options)


def shape(found: Plan) -> list[tuple[tuple[str, ...], dict[str, int]]]:
    """Setting and number of rows by arm of each block; settings without what is the same everywhere."""
    varying = [name for name in found.blocks[0].setting if len({block.setting[name] for block in found.blocks}) > 1]
    return [(tuple(b.setting[n] for n in varying), {arm: len(at) for arm, at in b.arms.items()}) for b in found.blocks]


def test_files_are_compared_for_each_of_their_arms(tmp_path: Path) -> None:
    both = rows(2) + rows(2, model="sam2_base", weights="b" * 64)
    found = plan(tmp_path, both, both)
    assert found.compared == ("file",)
    assert shape(found) == [(("sam2_tiny",), {"A": 4, "B": 4}), (("sam2_base",), {"A": 4, "B": 4})]


@pytest.mark.parametrize("column", ["model", "autocast_dtype", "attention"])
def test_files_that_differ_outright_in_what_makes_an_arm_are_compared_and_it_is_said(tmp_path: Path, column: str) -> None:
    other: dict[str, Any] = {column: "other"}
    found = plan(tmp_path, rows(2), rows(2, **other))
    assert found.compared == ("file", column)
    assert shape(found) == [((), {"A": 4, "B": 4})]
    assert f"also differ in {column}" in found.notes[0]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("imgsz", 512),
        ("prompt", "points"),
        ("weights", "b" * 64),
        ("max_frames", 60),
        ("protocol", "davis2017"),
        ("frame_stride", 2),
        ("split", "sav_test"),
    ],
)
def test_what_is_not_compared_must_agree(tmp_path: Path, column: str, value: Any) -> None:
    files = rows(2), rows(2, **{column: value})
    with pytest.raises(RefusedError, match=r"refused: A and B differ.*--force"):
        plan(tmp_path, *files)
    forced = plan(tmp_path, *files, force=True)
    assert forced.forced
    assert forced.forced[0].startswith("FORCED: A and B differ in ")
    assert shape(forced) == [((), {"A": 4, "B": 4})]
    on_purpose = plan(tmp_path, *files, by=(column,))
    assert len(on_purpose.arms) == 2
    assert on_purpose.forced == ()


def test_power_modes_must_agree(tmp_path: Path) -> None:
    def with_mode(name: str, mode: str) -> Path:
        path = write(tmp_path / name, rows(2))
        header, *lines = path.read_text().splitlines()
        path.write_text("\n".join([header + ",nvpmodel" * ("nvpmodel" not in header), *(f"{line},{mode}" for line in lines)]) + "\n")
        return path

    if "nvpmodel" in SummaryRow.__dataclass_fields__:
        paths = [write(tmp_path / f"{mode}.csv", rows(2, nvpmodel=mode)) for mode in ("15W", "MAXN")]
    else:
        paths = [with_mode("a.csv", "15W"), with_mode("b.csv", "MAXN")]
    with pytest.raises(RefusedError, match=r"power mode: 15W and MAXN"):
        plan_comparison(load_results(paths))


def test_boards_may_differ_between_files(tmp_path: Path) -> None:
    found = plan(tmp_path, rows(2), rows(2, device_name="AGX", torch_version="2.6", implementation="other", seed=3))
    assert shape(found) == [((), {"A": 4, "B": 4})]


def test_a_single_file_is_compared_by_what_varies(tmp_path: Path) -> None:
    found = plan(tmp_path, rows(2) + rows(2, autocast_dtype="bfloat16"))
    assert found.compared == ("autocast_dtype",)
    assert "autocast_dtype varies and is what is compared" in found.notes[0]
    assert shape(found) == [((), {"float32": 4, "bfloat16": 4})]


def test_of_several_that_vary_the_model_is_compared_and_the_others_are_kept_apart(tmp_path: Path) -> None:
    grid = [r for model in ("m", "n") for dtype in ("float32", "bfloat16") for r in rows(2, model=model, autocast_dtype=dtype)]
    found = plan(tmp_path, grid)
    assert found.compared == ("model",)
    assert "also varying: autocast_dtype" in found.notes[0]
    assert shape(found) == [(("float32",), {"m": 4, "n": 4}), (("bfloat16",), {"m": 4, "n": 4})]
    assert shape(plan(tmp_path, grid, by=("autocast_dtype",)))[0] == (("m",), {"float32": 4, "bfloat16": 4})
    assert plan(tmp_path, grid, by=("model", "autocast_dtype")).arms == ("m float32", "m bfloat16", "n float32", "n bfloat16")


def test_models_without_dtype_and_size_stand_beside_those_with(tmp_path: Path) -> None:
    floor = rows(2, model="static", autocast_dtype="none", attention="none", imgsz=None, weights="none")
    learned = [r for dtype in ("float32", "bfloat16") for r in rows(2, autocast_dtype=dtype)]
    found = plan(tmp_path, floor + learned)
    assert shape(found) == [(("float32",), {"static": 4, "sam2_tiny": 4}), (("bfloat16",), {"static": 4, "sam2_tiny": 4})]


def test_prompts_are_not_mixed_without_being_asked_for(tmp_path: Path) -> None:
    listed = rows(2, model="static") + rows(2, model="flow") + rows(2, prompt="points") + rows(2, prompt="points", model="edgetam")
    assert shape(plan(tmp_path, listed)) == [(("mask",), {"static": 4, "flow": 4}), (("points",), {"sam2_tiny": 4, "edgetam": 4})]
    with pytest.raises(RefusedError, match="prompt: mask and points"):
        plan(tmp_path, listed, baseline="static")


def test_dtypes_are_not_mixed_in_a_comparison_of_models(tmp_path: Path) -> None:
    listed = rows(2) + rows(2, model="edgetam", autocast_dtype="bfloat16")
    with pytest.raises(RefusedError, match="autocast_dtype: float32 and bfloat16"):
        plan(tmp_path, listed, by=("model",))
    assert plan(tmp_path, listed).compared == ("model", "autocast_dtype")


def test_shards_are_read_as_one_and_rows_in_both_count_once(tmp_path: Path) -> None:
    first = [r for r in rows(4) if r.video < "v3"]
    second = [r for r in rows(4) if r.video > "v1"]
    other = rows(4, autocast_dtype="bfloat16")
    found = plan(tmp_path, first + other, second, by=("autocast_dtype",))
    assert shape(found) == [((), {"float32": 8, "bfloat16": 8})]
    assert any("B.csv:2: the same row as an earlier one (2 such rows)" in note for note in found.notes)


def test_two_rows_of_one_measurement_are_refused_with_their_lines(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"A.csv:2 and .*A.csv:4: two rows for v0/000.*remove one"):
        plan(tmp_path, [row(J=0.5), row("v1"), row(J=0.6)])
    with pytest.raises(InputError, match="--by run_id"):
        plan(tmp_path, [row(J=0.5), row(J=0.6, run_id="again")])
    with pytest.raises(InputError, match="compare them with --by imgsz"):
        plan(tmp_path, rows(2) + rows(2, imgsz=512), rows(2, imgsz=256), force=True)


def test_boards_in_one_file_are_kept_apart_in_a_comparison_of_dtypes(tmp_path: Path) -> None:
    listed = [r for name in ("Nano", "AGX") for dtype in ("float32", "bfloat16") for r in rows(2, device_name=name, autocast_dtype=dtype)]
    found = plan(tmp_path, listed, by=("autocast_dtype",))
    assert shape(found) == [(("Nano",), {"float32": 4, "bfloat16": 4}), (("AGX",), {"float32": 4, "bfloat16": 4})]
    assert plan(tmp_path, listed, by=("device",)).arms == ("cuda:0 Nano", "cuda:0 AGX")


def test_older_files_without_device_are_told_apart_by_their_names(tmp_path: Path) -> None:
    cells = [{"video": f"v{n}", "object": "0", "model": "m_points", "imgsz": 1024, "J": 0.5, "latency_ms": 20 + n} for n in range(3)]
    paths = [write_legacy(tmp_path / f"{name}.csv", LEGACY_WITH_PROXY, cells) for name in ("nano", "agx")]
    assert plan_comparison(load_results(paths), by=("device",)).arms == ("? nano", "? agx")
    assert plan_comparison(load_results(paths)).arms == ("nano", "agx")


def test_what_an_older_file_does_not_tell_agrees(tmp_path: Path) -> None:
    new = write(tmp_path / "new.csv", rows(3, objects=1, prompt="points"))
    cells = [{"video": f"v{n}", "object": "0", "model": "sam2_tiny_points", "imgsz": 1024, "J": 0.5, "latency_ms": 20} for n in range(3)]
    old = write_legacy(tmp_path / "old.csv", LEGACY_WITH_PROXY, cells)
    found = plan_comparison(load_results([old, new]))
    assert [{arm: len(at) for arm, at in block.arms.items()} for block in found.blocks] == [{"old": 3, "new": 3}]
    assert found.blocks[0].setting["autocast_dtype"] == "float32"


def test_a_failed_row_stays_in_its_arm(tmp_path: Path) -> None:
    dead = row("v9", latency_ms=None, status="oom", error="x", weights="", device="", device_name="")
    assert shape(plan(tmp_path, [*rows(2), dead], rows(2))) == [((), {"A": 5, "B": 4})]


def test_one_arm_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    found = plan(tmp_path, rows(2))
    assert found.notes == ("one arm: there is nothing to compare it with",)


def test_arms_that_only_one_file_has_are_blocks_of_their_own(tmp_path: Path) -> None:
    found = plan(tmp_path, rows(2) + rows(2, model="edgetam"), rows(2))
    assert shape(found) == [(("sam2_tiny",), {"A": 4, "B": 4}), (("edgetam",), {"A": 4})]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"by": ("colour",)}, "--by colour: no such column"), ({"baseline": "Z"}, "--baseline Z: no such arm; there are A, B")],
)
def test_options_that_name_nothing(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(tmp_path, rows(2), rows(2), **options)


def test_rows_that_never_meet(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows of A and B pair up"):
        plan(tmp_path, rows(2) + rows(2, model="n", imgsz=512), rows(2, imgsz=512) + rows(2, model="n"))


def test_what_was_forced_apart_does_not_come_back_to_tell_rows_apart(tmp_path: Path) -> None:
    """Two boards under one size and a third under another: with --by imgsz --force this went on without end."""
    listed = [*rows(2, device="cuda:0"), *rows(2, device="cuda:1"), *rows(2, imgsz=512, device="cpu")]
    with pytest.raises(InputError, match="two rows for v0/000 under the same arm; compare them with --by device"):
        plan(tmp_path, listed, by=("imgsz",), force=True)


def test_a_row_that_does_not_tell_a_setting_is_no_second_row_of_its_object(tmp_path: Path) -> None:
    """It agrees with the arm's other row in all that it tells; such a file made the pairing fail with an IndexError."""
    told = rows(2, autocast_dtype="float32") + rows(2)
    untold = row("v0", "000", autocast_dtype="float32", nvpmodel="")
    with pytest.raises(InputError, match=r"A\.csv:2 and .*A\.csv:10: two rows for v0/000"):
        plan(tmp_path, [*(dataclasses.replace(made, nvpmodel="MAXN") for made in told), untold], by=("autocast_dtype",))
