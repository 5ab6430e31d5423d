from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from compare_files import QUICK, row, rows, write

from savbench.compare.comparison import compare
from savbench.compare.exports import render_csv
from savbench.compare.findings import Change, Comparison, Options, PairComparison
from savbench.compare.protocol import RefusedError
from savbench.compare.tables import render_table
from savbench.results.foreign import load_results
from savbench.results.rows import SummaryRow
from savbench.results.scores import ObjectScore, dataset_means


def compared(tmp_path: Path, *files: list[SummaryRow], options: Options = QUICK) -> Comparison:
    return compare(load_results([write(tmp_path / f"{name}.csv", listed) for name, listed in zip("ABC", files, strict=False)]), options)


def only(comparison: Comparison) -> PairComparison:
    ((pair,),) = [block.comparisons for block in comparison.blocks if block.comparisons]
    return pair


def change(pair: PairComparison, column: str) -> Change:
    return next(entry for entry in pair.changes if entry.measure.column == column)


def test_scores_by_difference_and_times_by_ratio_of_geometric_means(tmp_path: Path) -> None:
    before = [row("v0", J=0.5, latency_ms=10.0), row("v1", J=0.7, latency_ms=40.0)]
    after = [row("v0", J=0.6, latency_ms=20.0), row("v1", J=0.5, latency_ms=20.0)]
    pair = only(compared(tmp_path, before, after))
    score, latency, fps = (change(pair, column) for column in ("JandF", "latency_ms", "fps"))
    assert (score.baseline, score.arm) == pytest.approx((0.6, 0.55))
    assert score.change == pytest.approx(-0.05)
    # one doubles, one halves: geometric means are 20 and 20, the mean of the ratios would be 1.25
    assert (latency.baseline, latency.arm, latency.change) == pytest.approx((20.0, 20.0, 1.0))
    assert fps.change == pytest.approx(1.0)
    assert (score.better, score.worse, score.same) == (1, 1, 0)
    assert (latency.better, latency.worse) == (1, 1)
    assert score.low is None
    assert score.verdict == "?"


def test_verdicts_follow_interval_and_direction(tmp_path: Path) -> None:
    before = rows(8)
    after = [
        dataclasses.replace(r, latency_ms=(r.latency_ms or 0) * 0.8, fps=(r.fps or 0) / 0.8, J=(r.J or 0) + (0.02 if n % 4 < 2 else -0.02))
        for n, r in enumerate(before)
    ]
    pair = only(compared(tmp_path, before, after))
    latency = change(pair, "latency_ms")
    assert latency.change == pytest.approx(0.8)
    assert (latency.low, latency.high) == pytest.approx((0.8, 0.8))
    assert latency.verdict == change(pair, "fps").verdict == "better"
    assert change(pair, "J").verdict == "~"
    assert change(pair, "F").verdict == "="
    reverse = only(compared(tmp_path, after, before))
    assert change(reverse, "latency_ms").verdict == "worse"
    assert change(reverse, "latency_ms").change == pytest.approx(1.25)


def test_missing_failed_and_invalid_rows_are_counted_and_named(tmp_path: Path) -> None:
    dead: dict[str, Any] = {"latency_ms": None, "status": "oom", "error": "out of memory"}
    before = [row(f"v{n}") for n in range(6)] + [row("v6", **dead), row("v7", **dead)]
    after = [row(f"v{n}") for n in range(4)] + [row("v5", **dead), row("v6", **dead), row("v7"), row("v8")]
    comparison = compared(tmp_path, before, after)
    pair = only(comparison)
    assert {entry.reason: entry.objects for entry in pair.unpaired} == {
        "missing in B": ("v4/000",),
        "oom in B": ("v5/000",),
        "oom in both": ("v6/000",),
        "oom in A": ("v7/000",),
        "missing in A": ("v8/000",),
    }
    assert (pair.pairs, pair.videos, pair.lost) == (4, 4, 2)
    assert [arm.counts for arm in comparison.blocks[0].arms] == [{"ok": 6, "oom": 2}, {"ok": 6, "oom": 2}]


def test_invalid_rows_keep_their_scores_and_lose_all_else_unless_forced(tmp_path: Path) -> None:
    def with_validity(name: str, listed: list[SummaryRow], validity: list[str]) -> Path:
        path = write(tmp_path / name, listed)
        header, *lines = path.read_text().splitlines()
        names = header.split(",")
        if "validity" not in names:
            header, lines = header + ",validity", [line + "," for line in lines]
            names.append("validity")
        at = names.index("validity")
        changed = [
            ",".join([*cells[:at], text, *cells[at + 1 :]]) for cells, text in zip((x.split(",") for x in lines), validity, strict=True)
        ]
        path.write_text("\n".join([header, *changed]) + "\n")
        return path

    listed = [row("v0"), row("v1")]
    paths = [with_validity("A.csv", listed, ["ok", "ok"]), with_validity("B.csv", listed, ["ok", "throttled"])]
    comparison = compare(load_results(paths), QUICK)
    pair = only(comparison)
    assert pair.unpaired == ()
    assert [(entry.reason, entry.objects) for entry in pair.untimed] == [("invalid (throttled) in B", ("v1/000",))]
    # what is wrong with a row's time says nothing about its masks
    assert (change(pair, "JandF").pairs, change(pair, "fps").pairs, change(pair, "gpu_peak_alloc_MiB").pairs) == (2, 1, 1)
    arm = comparison.blocks[0].arms[1]
    assert (arm.counts, arm.scored, arm.timed) == ({"ok": 1, "invalid": 1}, 2, 1)
    assert "times not compared: 1 object invalid (throttled) in B: v1/000" in render_table(comparison)
    forced = compare(load_results(paths), dataclasses.replace(QUICK, force=True))
    assert change(only(forced), "fps").pairs == 2
    assert forced.forced == ("FORCED: the times of 1 rows marked invalid are taken in",)


def test_an_object_without_score_counts_for_its_times_alone(tmp_path: Path) -> None:
    before = [row("v0", J=0.5), row("v1", J=None)]
    pair = only(compared(tmp_path, before, before))
    assert change(pair, "J").pairs == 1
    assert change(pair, "latency_ms").pairs == 2


def test_means_are_the_official_evaluators_to_the_last_bit(tmp_path: Path) -> None:
    listed = [row(f"v{n}", J=1 / (n + 3)) for n in range(40)]
    summary = compared(tmp_path, listed[::-1]).blocks[0].arms[0]
    expected = dataset_means(
        [ObjectScore(J=r.J or 0, F=r.F or 0, JandF=r.JandF or 0, frames_scored=1) for r in sorted(listed, key=lambda r: r.video)]
    )
    assert summary.means == expected


def test_figures_of_an_arm(tmp_path: Path) -> None:
    arm = compared(tmp_path, [row("v0", latency_ms=10.0, gpu_peak_alloc_MiB=700.0), row("v1", latency_ms=40.0)]).blocks[0].arms[0]
    # 10 frames of 10 ms and 10 of 40 ms: 20 frames in half a second
    assert arm.figures["latency_ms"] == pytest.approx(25.0)
    assert arm.figures["fps"] == pytest.approx(40.0)
    assert arm.figures["latency_p90_ms"] == pytest.approx((12.5 + 50) / 2)
    assert not arm.pools_frames
    assert (arm.peak_MiB, arm.peak_kind) == (700.0, "GPU")
    assert arm.videos == 2


def test_means_are_over_the_objects_that_all_arms_have(tmp_path: Path) -> None:
    files = rows(4, 1), rows(3, 1, latency_ms=40.0), [row("v0", latency_ms=None, status="oom", error="x")]
    block = compared(tmp_path, *files).blocks[0]
    # 0.40, 0.41, 0.42, and 0.43 that the second lacks; the third has no figures and takes no part
    assert [None if arm.means is None else round(arm.means.JandF, 6) for arm in block.arms] == [0.41, 0.41, None]
    assert [arm.scored for arm in block.arms] == [3, 3, 0]
    assert block.notes == ("all means: over the 3 objects that all arms have; left out: v3/000 not in B",)
    apart = compared(tmp_path, rows(2, 1), [row("v8"), row("v9")]).blocks[0]
    assert [arm.scored for arm in apart.arms] == [2, 2]
    assert "no object is in all arms" in apart.notes[0]


def test_a_run_of_dtypes_has_its_baselines_beside_it(tmp_path: Path) -> None:
    floor = [
        r for model in ("static", "flow") for r in rows(3, model=model, autocast_dtype="none", attention="none", imgsz=None, weights="none")
    ]
    learned = [r for dtype in ("float32", "bfloat16") for r in rows(2, autocast_dtype=dtype)]
    comparison = compared(tmp_path, floor + learned, options=dataclasses.replace(QUICK, by=("autocast_dtype",)))
    (block,) = comparison.blocks
    assert [(arm.arm, arm.is_reference) for arm in block.arms] == [
        ("float32", False),
        ("bfloat16", False),
        ("static", True),
        ("flow", True),
    ]
    assert [pair.arm for pair in block.comparisons] == ["bfloat16"]
    # over the four objects that the dtypes have, of the six that the baselines have
    assert {arm.scored for arm in block.arms} == {4}
    assert "static (reference)" in render_table(comparison)
    lines = render_csv(comparison).splitlines()
    assert any(",static,0,1,fps," in line for line in lines)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("torch_version", "2.6", "torch_version 2.5 and 2.6"),
        ("benchmark_version", "def", "benchmark_version abc and def"),
        ("weights", "b" * 64, "weights"),
        ("nvpmodel", "15W", "nvpmodel MAXN and 15W"),
        ("device_name", "AGX", "device_name Orin and AGX"),
        ("implementation", "sam2 2", "implementation"),
    ],
)
def test_an_arm_of_two_systems_is_refused(tmp_path: Path, column: str, value: str, said: str) -> None:
    """A run that went on after an update."""
    base: dict[str, Any] = {"benchmark_version": "abc", "nvpmodel": "MAXN", "implementation": "sam2 1"}
    changed: dict[str, Any] = {column: value}
    listed = [dataclasses.replace(r, **changed) if r.video > "v1" else r for r in rows(4, **base)] + rows(4, model="edgetam", **base)
    with pytest.raises(RefusedError, match=f"is one arm of two systems .{said}.*--force"):
        compared(tmp_path, listed)
    forced = compared(tmp_path, listed, options=dataclasses.replace(QUICK, force=True))
    assert any(line.startswith("FORCED: sam2_tiny_mask-float32-1024-None is one arm of two systems") for line in forced.forced)


def test_the_median_is_not_moved_by_one_outlier(tmp_path: Path) -> None:
    before = [row(f"v{n}", latency_ms=20.0) for n in range(7)]
    after = [row(f"v{n}", latency_ms=2000.0 if n == 0 else 20.0) for n in range(7)]
    assert change(only(compared(tmp_path, before, after)), "latency_ms").change == pytest.approx(100 ** (1 / 7))
    pair = only(compared(tmp_path, before, after, options=dataclasses.replace(QUICK, center="median")))
    assert change(pair, "latency_ms").change == 1.0
    assert change(pair, "latency_ms").arm == 20.0


def test_objects_that_moved_most(tmp_path: Path) -> None:
    before = rows(4)
    after = [dataclasses.replace(r, JandF=(r.JandF or 0) + moved) for r, moved in zip(before, [0, 0.1, -0.3, 0, 0.2, 0, 0, 0], strict=True)]
    pair = only(compared(tmp_path, before, after, options=dataclasses.replace(QUICK, top=2)))
    assert [(moved.object, round(moved.change, 6)) for moved in pair.moved] == [("v1/000", -0.3), ("v2/000", 0.2)]
    assert pair.moved_measure is not None
    assert pair.moved_measure.column == "JandF"


def test_scores_of_untrained_weights_mean_nothing(tmp_path: Path) -> None:
    pair = only(compared(tmp_path, rows(8, weights="random"), rows(8, weights="random", J=0.6)))
    assert {change(pair, column).verdict for column in ("J", "F", "JandF")} == {"meaningless"}
    assert change(pair, "latency_ms").verdict == "="
    assert pair.moved_measure is not None
    assert pair.moved_measure.column == "latency_ms"


def test_baseline_by_name(tmp_path: Path) -> None:
    files = rows(2), rows(2, latency_ms=40.0), rows(2, latency_ms=80.0)
    comparison = compared(tmp_path, *files, options=dataclasses.replace(QUICK, baseline="B"))
    assert [(pair.baseline, pair.arm) for pair in comparison.blocks[0].comparisons] == [("B", "A"), ("B", "C")]
    assert [arm.arm for arm in comparison.blocks[0].arms if arm.is_baseline] == ["B"]


def test_what_differs_without_being_compared_is_shown(tmp_path: Path) -> None:
    pair = only(compared(tmp_path, rows(2), rows(2, torch_version="2.6", device_name="AGX")))
    assert pair.differs == {"device_name": ("Orin", "AGX"), "torch_version": ("2.5", "2.6")}


def test_published_scores_stand_beside_a_trained_run(tmp_path: Path) -> None:
    arm = compared(tmp_path, [row(J=0.75)]).blocks[0].arms[0]
    assert arm.reference is not None
    assert arm.reference.reference.value == 75.1
    assert arm.reference.difference == pytest.approx(-0.1)
    for other in (row(weights="random"), row(prompt="points"), row(split="mine")):
        assert compared(tmp_path, [other]).blocks[0].arms[0].reference is None


def test_energy_that_is_nothing_has_no_ratio(tmp_path: Path) -> None:
    def with_energy(name: str, joules: list[float]) -> Path:
        path = tmp_path / name
        lines = [f"v{n},0,m,x,20,{value}" for n, value in enumerate(joules)]
        path.write_text("\n".join(["video,object,model,arm_id,latency_ms,energy_j_per_frame", *lines]) + "\n")
        return path

    pair = only(compare(load_results([with_energy("A.csv", [2.0, 0.5, 1.0]), with_energy("B.csv", [1.0, -0.1, 1.0])]), QUICK))
    energy = change(pair, "energy_j_per_frame")
    assert energy.pairs == 2
    assert energy.change == pytest.approx(math.sqrt(0.5))


def test_objects_of_the_same_name_in_other_clips_are_refused(tmp_path: Path) -> None:
    files = rows(2, clip_frames=48), rows(2, clip_frames=24)
    with pytest.raises(RefusedError, match=r"not about the same clips: 4 objects differ in clip_frames, the first v0/000 \(48 and 24\)"):
        compared(tmp_path, *files)
    assert compared(tmp_path, *files, options=dataclasses.replace(QUICK, force=True)).forced[0].startswith("FORCED: A and B are not")
    assert compared(tmp_path, rows(2, clip_frames=48), rows(2)).forced == ()


def test_results_of_two_versions_of_the_protocol_are_refused(tmp_path: Path) -> None:
    before, after = rows(4, protocol_version=1), rows(4, protocol_version=2)
    with pytest.raises(
        RefusedError, match=r"timing or scoring changed.*version 1: A; version 2: B.*one version of the benchmark, or give --force"
    ):
        compared(tmp_path, before, after)
    forced = compared(tmp_path, before, after, options=dataclasses.replace(QUICK, force=True))
    assert any("protocol_version" in line for line in forced.forced)
    by_version = compared(tmp_path, before, after, options=dataclasses.replace(QUICK, by=("protocol_version",)))
    assert [arm.arm for arm in by_version.blocks[0].arms] == ["1", "2"]
    # in one file, it is not taken for what shall be compared
    with pytest.raises(RefusedError, match="timing or scoring changed"):
        compared(tmp_path, [*before, *(dataclasses.replace(r, run_id="later") for r in after)])


def test_rows_that_tell_no_version_agree_with_any(tmp_path: Path) -> None:
    assert compared(tmp_path, rows(4), rows(4, protocol_version=2)).forced == ()
