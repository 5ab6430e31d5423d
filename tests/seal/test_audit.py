"""The audit of caching: models that remember names or paths are found, an honest one is not."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import caching_worker
import pytest
from picture_split import labels, write_davis
from sealed_fixture import Sealed
from sealed_runs import rewritten, run_benchmark, said, verdicts
from tiny_split import rectangle

from jetson_benchmark import main
from runners import RUNNERS
from savbench.data.dataset import open_split
from savbench.seal.audit import Audit, AuditedObject, copy_under_other_names, judge
from savbench.supervise import worker_process

OBJECT = AuditedObject("arm", "alpha", "000", 0.5, 0.5, 20.0, 20.0, "ok")


@pytest.fixture(scope="module")
def audited(sealed: Sealed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """An archive with an audit of the three models, and the status of `seal`."""
    folder = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        for name, spec in caching_worker.MODELS.items():
            patch.setitem(RUNNERS, name, spec)
        patch.setattr(worker_process, "WORKER_COMMAND", [sys.executable, caching_worker.__file__])
        run_benchmark(sealed.split, folder / "run", "--models", "honest_mask,names_mask,paths_mask")
        status = main(["seal", str(folder / "run"), "-o", str(folder / "run.zip"), "--audit", "1"])
        yield folder / "run.zip", status


def test_cheats_are_found_and_the_honest_model_is_not(audited: tuple[Path, int]) -> None:
    path, status = audited
    assert status == 1
    assert verdicts(path)["audit"] == "fail"
    told = said(path, "audit").split(" | ")
    of = {line.partition("_")[0]: line for line in told}
    assert "the masks depend on names, paths or order" in of["names"]
    assert "the run was faster than the model is on videos that it has not seen" in of["paths"]
    assert "the same J&F" in of["paths"]
    audit = json.loads((path.parent / "run" / "audit.json").read_text())
    honest = [one for one in audit["objects"] if one["arm_id"].startswith("honest")]
    assert len(honest) == 2
    assert all(one["JandF"] == one["JandF_again"] is not None for one in honest)
    # nothing of the sample is left, and the run's rows are as they were
    assert sorted(one.name for one in (path.parent / "run").iterdir() if one.is_dir()) == ["logs"]


def test_sealing_again_keeps_the_audit(audited: tuple[Path, int], tmp_path: Path) -> None:
    path, _ = audited
    assert main(["seal", str(path.parent / "run"), "-o", str(tmp_path / "again.zip")]) == 1
    assert (tmp_path / "again.zip").read_bytes() == path.read_bytes()


def test_an_audit_of_other_figures_is_no_audit(audited: tuple[Path, int], tmp_path: Path) -> None:
    def flatter(audit: Any) -> None:
        for one in audit["objects"]:
            one["JandF"], one["latency_p50_ms"] = one["JandF_again"], one["latency_p50_ms_again"]

    def other_run(audit: Any) -> None:
        audit["run_id"] = "other"

    for change, message in ((flatter, "not the figures of its row"), (other_run, "of run other, not of this one")):

        def changed(members: dict[str, bytes], change: Any = change) -> None:
            audit = json.loads(members["audit.json"])
            change(audit)
            members["audit.json"] = json.dumps(audit).encode()

        assert message in said(rewritten(audited[0], tmp_path / "a.zip", changed, mends_sums=True), "audit")
    for content in (b"null", b"{}", b'{"objects": 3}', b"["):
        path = rewritten(audited[0], tmp_path / "b.zip", lambda members, c=content: members.update({"audit.json": c}), mends_sums=True)  # type: ignore[misc]
        assert "audit.json is damaged" in said(path, "audit")


def test_a_copy_has_other_names_and_the_same_pixels(sealed: Sealed, tmp_path: Path) -> None:
    split = open_split(sealed.split)
    names = copy_under_other_names(split, ["alpha", "gamma"], tmp_path / "copy", random.Random(1))
    copy = open_split(tmp_path / "copy")
    assert split.videos == ["alpha", "beta", "gamma"]
    assert len(copy.videos) == 2
    assert not {"alpha", "gamma"} & set(copy.videos)
    for (video, name), (other, other_name) in names.items():
        ours, theirs = split.video(video), copy.video(other)
        assert [path.read_bytes() for path in ours.frames.files or ()] == [path.read_bytes() for path in theirs.frames.files or ()]
        pairs = zip(ours.object(name).annotations, theirs.object(other_name).annotations, strict=True)
        assert all(i == j and (a.read() == b.read()).all() for (i, a), (j, b) in pairs)


def test_objects_of_a_picture_keep_their_masks(tmp_path: Path) -> None:
    """Labels 1 to 11 become the folders 000 to 010: in the order of numbers, not of texts."""
    squares = [(label, rectangle(2 * (label - 1) % 22, 2 * label, 2, 2)) for label in range(1, 12)]
    write_davis(tmp_path / "davis", {"dance": [labels(*squares)] * 3}, lists={"2017/val": ["dance"]})
    split = open_split(tmp_path / "davis")
    names = copy_under_other_names(split, ["dance"], tmp_path / "copy", random.Random(1))
    copy = open_split(tmp_path / "copy")
    assert len(names) == 11
    for (video, name), (other, other_name) in names.items():
        sides = ((split.video(video), name), (copy.video(other), other_name))
        ours, theirs = (side.object(obj).annotations[0][1].read() for side, obj in sides)
        assert (ours == theirs).all()


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "pass"),
        ({"JandF_again": 0.505}, "pass"),
        ({"JandF_again": 0.4}, "fail"),
        ({"latency_p50_ms_again": 23.0}, "pass"),
        ({"latency_p50_ms_again": 26.0}, "warn"),
        ({"latency_p50_ms_again": 14.0}, "warn"),
        ({"latency_p50_ms_again": 31.0}, "fail"),
        ({"status_again": "error", "JandF_again": None, "latency_p50_ms_again": None}, "fail"),
        ({"JandF": None, "JandF_again": None}, "pass"),
    ],
)
def test_the_verdict_of_an_arm(changed: dict[str, Any], verdict: str) -> None:
    other = replace(OBJECT, arm_id="other")
    audit = Audit("run", "2026-11-28T08:00:00+00:00", 1, ("abc",), (replace(OBJECT, **changed), other))
    assert [(arm.arm_id, arm.verdict) for arm in judge(audit)] == [("arm", verdict), ("other", "pass")]
    assert Audit.from_json(json.loads(json.dumps(audit.to_json()))) == audit


def test_a_run_without_figures_cannot_be_audited(sealed: Sealed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = tmp_path / "split"
    (split / "JPEGImages_24fps").mkdir(parents=True)
    (split / "Annotations_6fps").mkdir()
    (split / "val.txt").write_text("gone\n")
    arguments = ["--split_dir", str(split), "--models", "static_mask", "--power", "none", "--out_dir", str(tmp_path / "run")]
    assert main(arguments) == 1
    assert main(["seal", str(tmp_path / "run"), "-o", str(tmp_path / "a.zip"), "--audit"]) == 2
    assert "no row has figures that could be compared; leave out --audit" in capsys.readouterr().err
    assert main(["seal", str(tmp_path / "run"), "-o", str(tmp_path / "a.zip")]) == 1
    assert "no object has figures; see the column `error`" in said(tmp_path / "a.zip", "coverage")
