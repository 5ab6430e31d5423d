"""Where the arms fail: figures by bin worked out by hand, and runs of models with a planted weakness."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weak_worker
from compare_files import row, write
from scripted_run import run_rows
from tiny_split import TinySplit, rectangle

import jetson_benchmark
from runners import RUNNERS
from savbench.compare.explaining import ALPHA
from savbench.report.atlas import MOST_DRAWN, TOO_SMALL
from savbench.report.charts import Dots, Figure, Missing
from savbench.report.content import Report, Settings, make_report
from savbench.results.attributes import BY_NAME, hardships
from savbench.results.rows import SummaryRow
from savbench.supervise import worker_process

QUICK = Settings(resamples=1000)


def attributes(size: float, speed: float = 0.5, absence: float = 0.0) -> dict[str, float]:
    return {"size": size, "speed": speed, "absence": absence, "exits": 0}


def report_of(tmp_path: Path, listed: list[SummaryRow]) -> Report:
    return make_report([write(tmp_path / "run.csv", listed)], QUICK, [])


def chapter(report: Report) -> list[Figure | Missing]:
    return list(next(one for one in report.chapters if one.key == "failures").items)


def two_arms(**of_first: Any) -> list[SummaryRow]:
    """12 videos: six with a small object, six with a large one, of J&F 0.5 and 0.8; the second arm has 0.2 on small objects."""
    listed = []
    for number in range(12):
        is_small = number < 6
        for model, J in (("sam2_tiny", 0.5 if is_small else 0.8), ("edgetam", 0.2 if is_small else 0.8)):
            of = attributes(0.01 if is_small else 0.3, absence=0.5 if is_small else 0.1)
            failure = {"nt2f": J, "false_positive_rate": 0.25 if is_small else 0.75}
            listed.append(row(f"v{number:02d}", J=J, model=model, attributes=of, failure=failure, **of_first))
    return listed


def test_the_means_of_bins_by_hand(tmp_path: Path) -> None:
    figures = chapter(report_of(tmp_path, two_arms()))
    assert [figure.key for figure in figures] == ["atlas", "atlas-nt2f", "atlas-false-positives"]
    scores, to_failure, false_positives = figures
    assert isinstance(scores, Figure)
    assert scores.table.header == ["attribute", "objects", "videos", "sam2_tiny_mask", "edgetam_mask"]
    assert scores.table.rows[:2] == [
        ["size: tiny, under 0.05", "6", "6", "0.5000 [0.5000, 0.5000]", "0.2000 [0.2000, 0.2000]"],
        ["size: large, from 0.2", "6", "6", "0.8000 [0.8000, 0.8000]", "0.8000 [0.8000, 0.8000]"],
    ]
    assert isinstance(scores.drawing, Dots)
    heading, rows = scores.drawing.groups[0]
    assert heading in ("size", "absence")
    assert [[round(dot.value, 9) for dot in one.dots] for one in rows] in ([[0.5, 0.2], [0.8, 0.8]], [[0.8, 0.8], [0.5, 0.2]])
    assert "All objects are in one bin, or not known: speed" in " ".join(scores.notes)
    assert isinstance(to_failure, Figure)
    assert to_failure.table.rows[0][3] == "0.5000 [0.5000, 0.5000]"
    assert isinstance(false_positives, Figure)
    assert false_positives.table.rows[1][4] == "0.7500 [0.7500, 0.7500]"


def test_what_explains_a_difference_is_said(tmp_path: Path) -> None:
    scores = chapter(report_of(tmp_path, two_arms()))[0]
    assert isinstance(scores, Figure)
    assert any("edgetam against sam2_tiny: size explains the differences best" in note for note in scores.notes)


def test_a_bin_of_few_videos_has_no_dot(tmp_path: Path) -> None:
    listed = [row(f"v{number:02d}", J=0.5, attributes=attributes(0.3 if number else 0.01)) for number in range(12)]
    listed += [row(f"w{number:02d}", J=0.9, attributes=attributes(0.15)) for number in range(8)]
    scores = chapter(report_of(tmp_path, listed))[0]
    assert isinstance(scores, Figure)
    assert isinstance(scores.drawing, Dots)
    ((heading, rows),) = scores.drawing.groups
    assert heading == "size"
    assert [(one.label, len(one.dots), one.remark) for one in rows] == [
        ("tiny, under 0.05 (n\u00a01)", 0, TOO_SMALL),
        ("medium, 0.1 to 0.2 (n\u00a08)", 1, ""),
        ("large, from 0.2 (n\u00a011)", 1, ""),
    ]
    assert scores.table.rows[0] == ["size: tiny, under 0.05", "1", "1", TOO_SMALL]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"attributes": {}}, "No row has attributes of its object"),
        ({"weights": "random"}, "No arm with trained weights has J&F"),
    ],
)
def test_without_data_the_chapter_says_why(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    listed = [row(f"v{number}", **{"attributes": attributes(0.3), **changed}) for number in range(8)]
    (missing,) = chapter(report_of(tmp_path, listed))
    assert isinstance(missing, Missing)
    assert missing.reason.startswith(said)


def test_too_few_videos_for_any_bin(tmp_path: Path) -> None:
    (missing,) = chapter(report_of(tmp_path, [row(f"v{number}", attributes=attributes(0.1 * number)) for number in range(5)]))
    assert isinstance(missing, Missing)
    assert "6 videos" in missing.reason


def test_the_page_draws_few_attributes_and_lists_all(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("itables")
    rng = np.random.default_rng(0)
    listed = []
    for number in range(40):
        of = {name: float(rng.choice([one.edges[0] / 2, one.edges[-1] * 2])) for name, one in BY_NAME.items()}
        listed.append(row(f"v{number:02d}", J=float(rng.uniform(0.2, 0.9)), attributes=of))
    path = write(tmp_path / "run.csv", listed)
    scores = chapter(make_report([path], QUICK, []))[0]
    assert isinstance(scores, Figure)
    assert isinstance(scores.drawing, Dots)
    assert len(scores.drawing.groups) == MOST_DRAWN
    assert len(scores.table.rows) == 2 * len(BY_NAME)
    assert jetson_benchmark.main(["report", str(path), "-o", str(tmp_path / "page.html"), "--resamples", "1000"]) == 0
    page = (tmp_path / "page.html").read_text()
    assert 'id="figure-atlas"' in page
    assert "95% interval" in page


def test_what_is_hard_about_an_object() -> None:
    assert hardships({"size": 0.01, "speed": 0.1, "returns": 3}) == ["size (tiny, under 0.05)", "returns (several)"]
    assert hardships({}) == []


def weak_split(root: Path) -> Path:
    """16 clips of one object: small or large, at rest or moving, and named as lost or kept, all combined, twice."""
    split, names = TinySplit(root), []
    for number, (side, speed, luck) in enumerate([*itertools.product((3, 12), (0, 1), ("lost", "kept"))] * 2):
        names.append(f"v{number:02d}_{luck}")
        step = speed * side // 3  # in each sixth of a second: 2 sizes a second
        split.write_video(names[-1], 13, {"000": [rectangle(4, 2 + step * at, side, side, (40, 60)) for at in range(4)]})
    (root / "val.txt").write_text("\n".join(names) + "\n")
    return root


def test_a_planted_weakness_is_named_after_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From masks to the verdict: `blind` loses small objects, whatever their speed; `unlucky` loses half of all for no reason."""
    for name, spec in weak_worker.SPECS.items():
        monkeypatch.setitem(RUNNERS, name, spec)
    monkeypatch.setattr(worker_process, "WORKER_COMMAND", [sys.executable, weak_worker.__file__])
    models = ("scripted_mask", "blind_mask", "unlucky_mask")
    status, found = run_rows(weak_split(tmp_path / "split"), tmp_path / "run", models=models, warmup_frames=0)
    assert status == 0
    assert {round(one.attributes["size"], 3) for one in found} == {round((side * side / 2400) ** 0.5, 3) for side in (3, 12)}
    command = ["compare", str(tmp_path / "run"), "--by", "model", "--format", "json", "--resamples", "1000", "--explain_by"]
    assert jetson_benchmark.main(command) == 0
    of_arm = {pair["arm"]: pair["explanation"] for pair in json.loads(capsys.readouterr().out)["blocks"][0]["comparisons"]}
    assert of_arm["blind"]["best"] == "size"
    effects = {effect["attribute"]: effect for effect in of_arm["blind"]["effects"]}
    assert effects["size"]["explained"] > 0.8
    assert effects["speed"]["p"] > ALPHA
    assert [one["objects"] for one in effects["speed"]["bins"]] == [8, 8]
    carried = {one["label"]: one["share"] for one in effects["size"]["bins"]}
    assert carried["small, 0.05 to 0.1"] == pytest.approx(1)
    assert of_arm["unlucky"]["best"] == ""
    assert of_arm["unlucky"]["change"] < -0.2
