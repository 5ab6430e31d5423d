"""Power modes in the report: joules with idle power, both fronts, and no figure where there is one mode."""

from __future__ import annotations

from pathlib import Path

from report_files import ArmOfRun, write_run

from savbench.report.charts import Scatter
from savbench.report.content import Settings, make_report


def test_modes_are_set_against_each_other_in_joules_with_idling(tmp_path: Path) -> None:
    # 10 FPS at 7 W, 20 FPS at 10 W, 21 FPS at 25 W, and as slow as the first at 25 W
    measured = {"15W": (10.0, 7.0), "25W": (20.0, 10.0), "MAXN_SUPER": (21.0, 25.0), "odd": (10.0, 25.0)}
    runs = []
    for mode, (fps, watts) in measured.items():
        figures = {"nvpmodel": mode, "fps": fps, "latency_ms": 1000 / fps, "power_mean_w": watts, "fps_per_w": fps / watts}
        runs.append(write_run(tmp_path / mode, [ArmOfRun(row=figures)]))
    report = make_report(runs, Settings(resamples=1000), ["report"])
    (found,) = [figure for figure in report.figures if figure.key == "power-modes"]
    assert found.table.header[:5] == ["arm", "power mode", "FPS", "W", "J per frame"]
    lines = {line[1]: (line[2], line[3], line[4], line[-1]) for line in found.table.rows}
    assert lines["15W"] == ("10.00", "7.000", "0.7000", "")
    assert lines["25W"] == ("20.00", "10.00", "0.5000", "for speed and for J&F")
    assert lines["MAXN_SUPER"] == ("21.00", "25.00", "1.190", "for speed")
    assert lines["odd"][3] == ""
    assert isinstance(found.drawing, Scatter)
    assert [round(x, 2) for x, _ in found.drawing.front] == [0.5, 1.19]


def test_one_mode_is_no_comparison_of_modes(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", [ArmOfRun(), ArmOfRun(model="edgetam", row={"nvpmodel": "15W"})])
    assert "power-modes" not in [figure.key for figure in make_report([one], Settings(resamples=1000), ["report"]).figures]
    without = write_run(tmp_path / "without", [ArmOfRun()], has_power=False)
    assert "power-modes" not in [figure.key for figure in make_report([one, without], Settings(resamples=1000), ["report"]).figures]
