"""check-model: a sound runner passes, each planted fault is named by the check that it is for, and the command ends as it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch")

import planted

import jetson_benchmark
from runners import RUNNERS, RunnerSpec
from savbench.integration import cli
from savbench.integration.child import check_runner
from savbench.integration.pieces import check_pieces, small_size
from savbench.integration.prompts import judge_place

ROOT = Path(__file__).parents[2]


def failures(runner_class: type[planted.Sound]) -> dict[str, str]:
    """What failed and what was said, by check."""
    found = list(check_runner(planted.bench_of(runner_class)))
    for outcome in found:
        assert outcome.status != "failed" or (outcome.meaning and outcome.remedy)
    return {outcome.check: outcome.said for outcome in found if outcome.status == "failed"}


def test_a_sound_runner_passes() -> None:
    outcomes = list(check_runner(planted.bench_of(planted.Sound)))
    assert {outcome.status for outcome in outcomes} == {"ok", "not applicable"}
    assert len(outcomes) == len({outcome.check for outcome in outcomes})


@pytest.mark.parametrize(
    ("fault", "check", "said"),
    [
        (planted.Transposed, "masks: shape and dtype of one object", "transposed: shape (1, 320, 180), not (1, 180, 320)"),
        (planted.TransposedOnSquares, "prompts: the mask of a mask prompt lies on the object", "transposed"),
        (planted.RowsForColumns, "prompts: the mask of a bbox prompt lies on the object", "transposed"),
        (planted.WithChannel, "masks: shape and dtype of one object", "shape (1, 1, 180, 320), not (1, 180, 320)"),
        (planted.InBytes, "masks: shape and dtype of two objects", "uint8 instead of bool"),
        (planted.KeepsFrames, "memory: flat over a long clip", "KiB a frame"),
        (planted.ByChance, "masks: the same twice", "they differ on frames 0, 1"),
        (planted.Unseeded, "masks: the same from a second build", "they differ"),
        (planted.Remembers, "masks: the same after another clip", "they differ"),
        (planted.Deferred, "timing: no work is left when the masks are returned", "the pause after it"),
        (planted.FilledLater, "timing: masks are final when they are returned", "changed afterwards"),
        (planted.OneBuffer, "timing: masks are final when they are returned", "changed afterwards"),
        (planted.WorksInInspect, "timing: inspect only reports", "ms of CPU time"),
        (planted.OtherParts, "timing: what is inside the latency", "parts_ms has encoder_ms, not preprocess_ms"),
        (planted.HalfOfTheParts, "timing: what is inside the latency", "parts_ms sum to 0.00 ms, the call takes 2"),
        (planted.IgnoresPrompts, "prompts: points decides the mask", "ignored"),
        (planted.RefusesLate, "prompts: an object that appears while another is tracked", "though `takes_late_objects` claims it"),
        (planted.LateFirst, "prompts: an object that appears while another is tracked", "not in the order of prompting"),
        (planted.WantsFiles, "order: could not be checked", "AssertionError"),
        (planted.TracksNothing, "order: track before prompt", "accepted"),
        (planted.WritesIntoFrames, "masks: the caller's arrays are left as they are", "changed the frame"),
        (planted.SaysCuda, "built: as asked for", "imgsz 512, asked for None; weights 'random', where none is due"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_planted_fault_is_named(fault: type[planted.Sound], check: str, said: str) -> None:
    found = failures(fault)
    assert said in found.get(check, "not found"), found


def test_a_transposed_mask_of_random_weights_is_found_where_the_model_returns_its_prompt() -> None:
    assert judge_place("mask", [0.0, 0.1], [1.0, 0.9], is_trained=False).status == "failed"
    assert judge_place("points", [0.0, 0.05], [0.1, 0.0], is_trained=False).status == "not applicable"
    assert judge_place("points", [0.0, 0.8], [0.0, 0.0], is_trained=True).status == "failed"
    assert judge_place("points", [0.3, 0.8], [0.0, 0.0], is_trained=True).status == "ok"


@pytest.mark.parametrize("model", RUNNERS)
def test_nothing_is_missing_of_the_models_in_the_registry(model: str) -> None:
    assert [outcome for outcome in check_pieces(model, RUNNERS[model], ROOT) if outcome.status == "failed"] == []


def test_what_is_missing_is_named_with_what_to_do() -> None:
    spec = RunnerSpec(factory="runners.new.New", family="new", checkpoint="new.pt", imgsz=512)
    found = {outcome.check: outcome for outcome in check_pieces("new_small", spec, ROOT)}
    missing = {check for check, outcome in found.items() if outcome.status == "failed"}
    assert missing == {
        "pieces: sizes that it can run",
        "pieces: where its weights come from",
        "pieces: what the doctor advises where weights are missing",
        "pieces: a card for readers",
        "pieces: tests",
    }
    assert all(found[check].said.startswith("missing: ") for check in missing)
    assert "new_small<TAB>new.pt<TAB>bytes" in found["pieces: where its weights come from"].remedy
    assert small_size(spec) == 512


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sam2_tiny\tother.pt\t1\t" + "0" * 64 + "\tsam2", "file other.pt, the spec says sam2.1_hiera_tiny.pt"),
        ("sam2_tiny\tsam2.1_hiera_tiny.pt\tmany\tabc\tsam2", "bytes or sha256"),
        ("sam2_tiny\tsam2.1_hiera_tiny.pt\t-\tabc\tsam2", "bytes or sha256"),
        ("sam2_tiny\tsam2.1_hiera_tiny.pt\t-\t-\tsam2", "of unknown size, from sam2"),
        ("sam2_tiny\tsam2.1_hiera_tiny.pt\t1\t" + "0" * 64 + "\tnowhere", "source nowhere has no URL"),
        ("sam2_tiny\tsam2.1_hiera_tiny.pt\t-\t-\tgated", "sam2.1_hiera_tiny.pt, gated"),
        ("sam2_tiny\tsam2.1_hiera_tiny.pt", "2 columns instead of 5"),
        ("sam2_tiny\tsam2.1_hiera_tiny.pt\t1\t" + "0" * 64 + "\tsam2\tMIT", "licence MIT, the spec says Apache-2.0"),
    ],
)
def test_what_a_line_of_weights_says(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "weights.tsv").write_text(f"# model\n{line}\n")
    (tmp_path / "scripts" / "download_weights.sh").write_text("[sam2]=https://example.org\n")
    found = {outcome.check: outcome for outcome in check_pieces("sam2_tiny", RUNNERS["sam2_tiny"], tmp_path)}
    assert said in found["pieces: where its weights come from"].said


def test_sizes_for_random_weights_are_small_and_can_run() -> None:
    sizes = {"sam2": 64, "sam1": 64, "sam3": 70, "edgetam": 256, "efficienttam": 64, "cutie": 96, "baseline": None}
    assert {model: small_size(spec) for model, spec in RUNNERS.items()} == {model: sizes[spec.family] for model, spec in RUNNERS.items()}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["sam9"], "a new one needs a spec in runners/__init__.py (docs/add-a-model.md)"),
        (["sam2_nano_points"], "give the model without its prompt: sam2_nano"),
        (["edgetam", "--imgsz", "640"], "640 is not a size it can run; use 256, 512, 768 or 1024"),
        (["sam2_tiny", "--weights_dir", "/nowhere"], "sam2.1_hiera_tiny.pt is not in /nowhere"),
        (["static", "--device", "cuda:77"], "cuda"),
    ],
)
def test_bad_arguments(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["check-model", *argv]) == 2
    assert said in capsys.readouterr().err


def test_the_command_names_what_failed_and_writes_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in = (
        "import os,json,sys; e=os.fdopen(int(sys.argv[-1]),'w'); sys.stdin.readline(); print('last words', file=sys.stderr); os._exit(3)"
    )
    monkeypatch.setattr(cli, "CHILD_COMMAND", (sys.executable, "-c", stand_in))
    assert jetson_benchmark.main(["check-model", "static", "--json", str(tmp_path / "found.json")]) == 1
    said = capsys.readouterr()
    assert "static: could not be checked" in said.out
    assert "1 failed" in said.out
    assert "last words" in said.err
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["model"] == "static"
    assert found["checks"][-1]["status"] == "failed"


def test_a_model_that_predicts_nothing_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["check-model", "empty", "--device", "cpu"]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed")]
    assert [line.split(": ")[1] for line in failed] == ["mask decides the mask", "the mask of a mask prompt lies on the object"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["flow", "sam2_nano", "sam2_tiny", "edgetam", "sam1_base"])  # of each family, official classes and ours
def test_models_of_the_registry_pass(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    for package in {"sam2": ["sam2"], "edgetam": ["transformers", "timm"]}.get(RUNNERS[model].family, []):
        pytest.importorskip(package, reason=f"needs {package}")
    random = ["--random_weights"] if RUNNERS[model].is_learned else []
    assert jetson_benchmark.main(["check-model", model, "--device", "cpu", *random]) == 0, capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_found_before_the_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert jetson_benchmark.main(["check-model", "static", "--json", "/dev/null/found.json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "--json /dev/null/found.json: cannot be written" in said.err
