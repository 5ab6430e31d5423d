"""What belongs to a model beside its class: its spec, sizes, weights, the doctor's advice, a line for readers, tests. Reads files only."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from runners import PROMPT_KINDS, SHIPPED_WEIGHTS
from runners.sizes import EDGETAM_SIZES, SMALLEST, STRIDES
from savbench.doctor.models import check_weights
from savbench.selfcheck.outcome import judged, not_applicable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runners import RunnerSpec
    from savbench.selfcheck.outcome import Outcome

WEIGHTS_TABLE = "scripts/weights.tsv"
GATED = "gated"
"""Source in the table of weights of files that are given only to who has accepted a licence; neither size nor sha256 is public."""
DOWNLOADS = "scripts/download_weights.sh"
CARDS = "docs/models.md"
WALKTHROUGH = "docs/add-a-model.md"
SMALL = 64
"""Least side in pixels of a small input, for families that run any multiple of their stride."""


def check_pieces(model: str, spec: RunnerSpec, root: Path) -> Iterator[Outcome]:
    """
    Args:
        root: the benchmark's folder.
    """
    yield _spec(spec)
    yield _sizes(spec)
    yield _weights(model, spec, root)
    yield _advice(model, spec, root)
    yield _card(model, spec, root)
    yield _tests(model, spec, root)


def small_size(spec: RunnerSpec) -> int | None:
    """A small side of the input that the family can run, for random weights; the model's own where no rule is known."""
    if spec.imgsz is None:
        return None
    if spec.family == "edgetam":
        return EDGETAM_SIZES[0]
    stride = STRIDES.get(spec.family)
    return spec.imgsz if stride is None else SMALLEST.get(spec.family, -(-SMALL // stride) * stride)


def _spec(spec: RunnerSpec) -> Outcome:
    wrong = [f"`prompts` names {kind}, which is none of {', '.join(PROMPT_KINDS)}" for kind in spec.prompts if kind not in PROMPT_KINDS]
    if not spec.prompts:
        wrong.append("`prompts` is empty")
    if spec.is_learned and spec.imgsz is None:
        wrong.append("`imgsz` is missing: a model with weights has a size of its own")
    return judged(
        "pieces: the spec in the registry",
        not wrong,
        "; ".join(wrong) or f"family {spec.family}, {spec.factory}, prompts {', '.join(spec.prompts)}",
        meaning="the command line offers what does not exist",
        remedy=f"complete the spec in runners/__init__.py ({WALKTHROUGH})",
    )


def _sizes(spec: RunnerSpec) -> Outcome:
    check = "pieces: sizes that it can run"
    if spec.imgsz is None:
        return not_applicable(check, "works at video resolution")
    known = spec.family == "edgetam" or spec.family in STRIDES
    return judged(
        check,
        known,
        "a rule is in runners/sizes.py" if known else f"missing: runners/sizes.py has no rule for family {spec.family}",
        meaning="a wrong --imgsz is found only when the model is built, in every worker",
        remedy=f"add `{spec.family}` to STRIDES in runners/sizes.py",
    )


def _weights(model: str, spec: RunnerSpec, root: Path) -> Outcome:
    check = "pieces: where its weights come from"
    if spec.checkpoint is None:
        return not_applicable(check, "a model without weights")
    if (SHIPPED_WEIGHTS / spec.checkpoint).is_file():
        return judged(check, True, f"shipped in {SHIPPED_WEIGHTS.relative_to(SHIPPED_WEIGHTS.parents[1])}", meaning="", remedy="")
    meaning = "nobody can fetch the weights or tell whether they are whole"
    line = next((row for row in _table(root / WEIGHTS_TABLE) if row[0] == model), None)
    if line is None:
        remedy = f"add `{model}<TAB>{spec.checkpoint}<TAB>bytes<TAB>sha256<TAB>source` to {WEIGHTS_TABLE}"
        return judged(check, False, f"missing: {WEIGHTS_TABLE} has no line for {model}", meaning=meaning, remedy=remedy)
    wrong = []
    if len(line) not in (5, 6):
        wrong.append(f"{len(line)} columns instead of 5, or of 6 with a licence")
    else:
        _, file, size, digest, source, *licence = line
        if (licence or ["Apache-2.0"]) != [spec.licence]:
            wrong.append(f"licence {licence[0] if licence else 'Apache-2.0'}, the spec says {spec.licence}")
        if file != spec.checkpoint:
            wrong.append(f"file {file}, the spec says {spec.checkpoint}")
        is_known = size.isdigit() and re.fullmatch(r"[0-9a-f]{64}", digest)
        if not is_known and (size, digest) != ("-", "-"):
            wrong.append("bytes or sha256 are not what they should be")
        downloads = root / DOWNLOADS
        if source != GATED and downloads.is_file() and f"[{source}]=" not in downloads.read_text(encoding="utf-8"):
            wrong.append(f"source {source} has no URL in {DOWNLOADS}")
    what = ""
    if not wrong:
        bytes_said = "of unknown size" if line[2] == "-" else f"{line[2]} bytes"
        what = "gated" if GATED in line else f"{bytes_said}, from {line[4]}"
    said = "; ".join(wrong) or f"{WEIGHTS_TABLE}: {line[1]}, {what}"
    return judged(check, not wrong, said, meaning=meaning, remedy=f"correct the line of {model} in {WEIGHTS_TABLE}")


def _advice(model: str, spec: RunnerSpec, root: Path) -> Outcome:
    """What the doctor says on a machine that has no weights at all."""
    check = "pieces: what the doctor advises where weights are missing"
    if spec.checkpoint is None or (SHIPPED_WEIGHTS / spec.checkpoint).is_file():
        return not_applicable(check, "there are none to miss")
    with tempfile.TemporaryDirectory() as empty:
        found = check_weights((Path(empty),), root / WEIGHTS_TABLE)
    # without names the script fetches everything in its table
    words = found.remedy.split()
    in_table = any(row[1:2] == [spec.checkpoint] for row in _table(root / WEIGHTS_TABLE))
    good = model in found.facts and in_table and (model in words or len(words) == 1)
    return judged(
        check,
        good,
        found.remedy if good else f"missing: no command that fetches {spec.checkpoint}",
        meaning="`jetson_benchmark.py doctor` tells of missing weights and not how to get them",
        remedy=f"add the file to {WEIGHTS_TABLE}; the doctor reads it",
    )


def _card(model: str, spec: RunnerSpec, root: Path) -> Outcome:
    check = "pieces: a card for readers"
    wrong = []
    rows = [
        (page, line)
        for page in ("README.md", CARDS)
        for line in _read(root / page).splitlines()
        if line.startswith("|") and any(f"`{model}`" in cell for cell in line.split("|")[1:3])
    ]
    if not rows:
        wrong.append("the table of models in README.md has no line for it")
    if spec.checkpoint is not None and (shipped := SHIPPED_WEIGHTS / spec.checkpoint).is_file():
        digest = hashlib.sha256(shipped.read_bytes()).hexdigest()
        if digest not in _read(SHIPPED_WEIGHTS / "README.md"):
            wrong.append(f"runners/nano/README.md does not give the sha256 of the weights ({digest})")
    return judged(
        check,
        not wrong,
        f"missing: {'; '.join(wrong)}" if wrong else f"{rows[0][0]}: {rows[0][1].split('|')[2].strip()[:80]}",
        meaning="users cannot tell what the model is, whose it is and what it is good for",
        remedy=f"say in README.md, of a variant in {CARDS}, what runs and which prompts it takes; shipped weights need a card, too",
    )


def _tests(model: str, spec: RunnerSpec, root: Path) -> Outcome:
    check = "pieces: tests"
    folder = root / "tests" / "runners"
    if not folder.is_dir():
        return not_applicable(check, f"there is no {folder}")
    module = spec.factory.rpartition(".")[0]
    found = [path.name for path in sorted(folder.rglob("test_*.py")) if re.search(rf"\b({module}|{model})\b", _read(path))]
    found.sort(key=lambda name: module.rpartition(".")[2] not in name)
    return judged(
        check,
        bool(found),
        f"tests/runners/{found[0]}" if found else f"missing: no file in tests/runners names {module} or {model}",
        meaning="nothing notices when a new release of upstream changes its masks",
        remedy="add tests/runners/test_<family>.py: masks that are known, prompts that are refused, one comparison with upstream",
    )


def _table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in _read(path).splitlines() if line and not line.startswith("#")]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
