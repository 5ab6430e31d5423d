"""Checks of the models' code and weights: the `sam2` package, its compiled extension, EdgeTAM, the checkpoints."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runners import RUNNERS
from runners.wheels import EDGETAM_WHEEL, unpacked_wheel
from savbench.arguments.declared import ConfigError
from savbench.doctor.check import Check, Subject, pip, set_up_again, short_path
from savbench.plan.upstream import EFFICIENTTAM
from savbench.plan.weights import find_weights
from savbench.results.environment import git_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from savbench.doctor.probe import Answers

TOPIC = "models"
MARK_OF_EDGETAM = Path("modeling") / "perceiver.py"
"""EdgeTAM's package is also called sam2; only it has this file."""
GET_SAM2 = "scripts/get_sam2.sh"
GET_EDGETAM = "scripts/get_edgetam.sh"
GET_EFFICIENTTAM = "scripts/get_efficienttam.sh"
BUILD_EXTENSION = "./update_sam2_optional_cuda.sh"


def check_models(packages: Answers, torch: Answers, subject: Subject) -> Iterator[Check]:
    """
    Args:
        packages: answers of the package probe, which say where `sam2` comes from.
        torch: answers of the torch probe, which imported `sam2`.
    """
    origin = packages.found.get("sam2", {}).get("origin")
    # If the package probe crashed before sam2, another check reports it.
    if "sam2" in packages.found:
        yield _sam2(origin, torch, subject)
    if origin is not None and not _is_edgetam(Path(origin["file"]).parent):
        build = BUILD_EXTENSION if subject.sam2_dir is None else f"{BUILD_EXTENSION} --sam2_dir {short_path(subject.sam2_dir)}"
        yield from _extension("sam2 _C", Path(origin["file"]).parent, "sam2_extension", torch, build)
    yield _edgetam(subject)
    yield _sam3(subject)
    # a wheel has no build script; without an extension in it there is nothing to tell
    if (
        subject.edgetam_dir is not None
        and (subject.edgetam_dir / "sam2").is_dir()
        and (edgetam_extension(subject) is not None or unpacked_wheel(subject.edgetam_dir, EDGETAM_WHEEL) is None)
    ):
        yield from _extension("EdgeTAM _C", subject.edgetam_dir / "sam2", "edgetam_extension", torch, f"{BUILD_EXTENSION} --edgetam")
    yield _efficienttam(subject)
    yield check_weights(subject.weights_dirs, subject.checkout / "scripts" / "weights.tsv")


def _is_edgetam(package: Path) -> bool:
    return (package / MARK_OF_EDGETAM).exists()


def _sam2(origin: dict[str, Any] | None, torch: Answers, subject: Subject) -> Check:
    facts = {"origin": origin}
    if subject.sam2_dir is not None and not (subject.sam2_dir / "sam2" / "build_sam.py").is_file():
        return Check(
            TOPIC,
            "sam2",
            "failure",
            f"--sam2_dir {subject.sam2_dir} has no sam2 package; give the top folder of a checkout",
            GET_SAM2,
            facts,
        )
    if origin is None:
        if _has("sam2_video"):
            detail = "not installed; transformers runs SAM 2 instead"
            return Check(TOPIC, "sam2", "warning", detail, set_up_again(subject.checkout), facts)
        return Check(TOPIC, "sam2", "failure", "not installed", set_up_again(subject.checkout), facts)
    package = Path(origin["file"]).parent
    names = list(origin["distributions"])
    uninstall = f"{pip('uninstall -y', *names)} && {set_up_again(subject.checkout)}"
    if _is_edgetam(package):
        detail = f"{short_path(package)} is EdgeTAM's package of the same name, which hides SAM 2"
        # A checkout that is only on the path belongs to no distribution.
        return Check(TOPIC, "sam2", "failure", detail, uninstall if names else "unset PYTHONPATH", facts)
    summary = f"{_which(origin)}, {short_path(package)}"
    if torch.died_in == "sam2" or "sam2" in torch.errors:
        why = torch.errors.get("sam2") or f"importing it ended with {torch.death}"
        return Check(
            TOPIC, "sam2", "failure", f"{summary}: cannot be imported: {why}", set_up_again(subject.checkout), {**facts, "error": why}
        )
    if subject.sam2_dir is None and len(names) > 1:
        detail = f"{summary}; several installed packages provide it: {', '.join(names)}"
        return Check(TOPIC, "sam2", "warning", detail, uninstall, facts)
    return Check(TOPIC, "sam2", "ok", summary, facts=facts)


def _which(origin: dict[str, Any]) -> str:
    """The commit of a checkout, or the distribution and version of an installed package."""
    if origin["git"] is not None:
        return _checkout(origin["git"])
    return ", ".join(f"{name} {version}" for name, version in origin["distributions"].items()) or "of unknown version"


def extension_files(package: Path) -> tuple[Path | None, list[Path]]:
    """The compiled `_C` that Python would import (None if there is none), and all other files of that name.

    Python prefers the most specific suffix, `_C.cpython-310-aarch64-linux-gnu.so` over `_C.so`, whatever their age; upstream builds the
        plain name.
    """
    candidates = [package / f"_C{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    imported = next((path for path in candidates if path.exists()), None)
    return imported, sorted(path for path in package.glob("_C*.so") if path != imported)


def _extension(name: str, package: Path, step: str, torch: Answers, remedy: str) -> Iterator[Check]:
    imported, others = extension_files(package)
    facts: dict[str, Any] = {"imported": None if imported is None else str(imported), "others": [str(path) for path in others]}
    if imported is None and not others:
        yield Check(
            TOPIC,
            name,
            "ok",
            f"not built; OpenCV fills holes in masks instead, with the same result ({remedy} builds it)",
            facts=facts,
        )
        return
    if imported is None:
        detail = f"{others[0].name} was built for another Python; OpenCV is used instead"
        yield Check(TOPIC, name, "warning", detail, remedy, facts)
        return
    if torch.died_in in (step, f"{step}_ran"):
        doing = "loading" if torch.died_in == step else "using"
        yield Check(TOPIC, name, "failure", f"{doing} {imported.name} ended with {torch.death}", remedy, facts)
        return
    error = torch.errors.get(step)
    if error is not None:
        detail = f"{imported.name} cannot be loaded, probably built for another torch or CUDA; OpenCV is used instead: {error}"
        yield Check(TOPIC, name, "warning", detail, remedy, {**facts, "error": error})
        return
    if step not in torch.found:
        return  # torch or the package could not be imported; another check reports it
    ran = torch.found.get(f"{step}_ran")
    if f"{step}_ran" in torch.errors or (ran is not None and not ran["right"]):
        detail = f"{imported.name} labels a known mask wrongly on this GPU, probably built for another; OpenCV is used instead"
        yield Check(TOPIC, name, "warning", detail, remedy, facts)
        return
    newer = [path for path in others if path.stat().st_mtime > imported.stat().st_mtime]
    if newer:
        yield Check(TOPIC, name, "warning", f"stale: Python takes {imported.name} before the newer {newer[0].name}", remedy, facts)
        return
    yield Check(
        TOPIC, name, "ok", f"{imported.name} loads" + (" and labels a known mask correctly" if ran is not None else ""), facts=facts
    )


def edgetam_extension(subject: Subject) -> Path | None:
    """The compiled `_C` of the EdgeTAM checkout, for the torch probe to load."""
    return None if subject.edgetam_dir is None else extension_files(subject.edgetam_dir / "sam2")[0]


def _edgetam(subject: Subject) -> Check:
    versions = {name: version for name in ("timm", "transformers") if (version := _installed(name)) is not None}
    facts: dict[str, Any] = {"checkout": None, "versions": versions}
    with_timm = f"timm {versions['timm']}" if "timm" in versions else "without timm"
    if subject.edgetam_dir is not None:
        package = subject.edgetam_dir / "sam2"
        if not (package / "build_sam.py").is_file() or not _is_edgetam(package):
            detail = f"{subject.edgetam_dir} is not a checkout of EdgeTAM"
            return Check(TOPIC, "EdgeTAM", "failure", detail, GET_EDGETAM, facts)
        state, wheel = git_state(package / "build_sam.py"), unpacked_wheel(subject.edgetam_dir, EDGETAM_WHEEL)
        facts["checkout"] = {"folder": str(subject.edgetam_dir), "git": state, "wheel": wheel}
        summary = f"{wheel or _checkout(state)}, {short_path(subject.edgetam_dir)}, {with_timm}"
        if "timm" not in versions:
            return Check(
                TOPIC, "EdgeTAM", "failure", f"{summary}: its image encoder needs timm", pip("install --no-deps 'timm>=1.0.23'"), facts
            )
        return Check(TOPIC, "EdgeTAM", "ok", summary, facts=facts)
    if "transformers" not in versions:
        return Check(
            TOPIC, "EdgeTAM", "warning", "neither a checkout nor transformers is installed; edgetam cannot run", GET_EDGETAM, facts
        )
    summary = f"transformers {versions['transformers']}, {with_timm}"
    if not _has("edgetam_video"):
        return Check(TOPIC, "EdgeTAM", "warning", f"{summary}: too old for EdgeTamVideoModel; edgetam cannot run", GET_EDGETAM, facts)
    if "timm" not in versions:
        return Check(TOPIC, "EdgeTAM", "warning", f"{summary}: its image encoder needs it", pip("install --no-deps 'timm>=1.0.23'"), facts)
    return Check(TOPIC, "EdgeTAM", "ok", f"{summary} (a checkout in ./EdgeTAM would be used instead)", facts=facts)


def _sam3(subject: Subject) -> Check:
    version = _installed("transformers")
    facts = {"transformers": version}
    if version is not None and _has("sam3_tracker_video"):
        return Check(TOPIC, "SAM 3", "ok", f"transformers {version} has its tracker", facts=facts)
    python = ".".join(map(str, sys.version_info[:2]))
    lacking = "transformers is not installed" if version is None else f"transformers {version} is too old for its tracker (5.0)"
    return Check(
        TOPIC,
        "SAM 3",
        "ok",
        f"{lacking}, on Python {python}; only sam3 needs it ({pip('install -r requirements-transformers.txt')})",
        facts=facts,
    )


def _has(model: str) -> bool:
    """Whether transformers has a model. Checks for its file, since importing transformers takes seconds."""
    files = importlib.metadata.files("transformers") if _installed("transformers") else None
    return any(file.match(f"transformers/models/{model}/__init__.py") for file in files or [])


def _efficienttam(subject: Subject) -> Check:
    folder = subject.efficienttam_dir
    facts: dict[str, Any] = {"checkout": None}
    if folder is None:
        detail = "no checkout in ./EfficientTAM; the efficienttam models cannot run without one"
        # most runs do not name it
        return Check(TOPIC, "EfficientTAM", "ok", f"{detail} ({GET_EFFICIENTTAM} gets it)", facts=facts)
    builder = folder / EFFICIENTTAM / "build_efficienttam.py"
    if not builder.is_file():
        return Check(TOPIC, "EfficientTAM", "failure", f"{folder} is not a checkout of EfficientTAM", GET_EFFICIENTTAM, facts)
    state = git_state(builder)
    facts["checkout"] = {"folder": str(folder), "git": state}
    return Check(TOPIC, "EfficientTAM", "ok", f"{_checkout(state)}, {short_path(folder)}", facts=facts)


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _checkout(state: dict[str, Any] | None) -> str:
    """A checkout in words, from what git says of it."""
    commit = "of unknown commit" if state is None else f"at {state['commit'][:12]}{' with local changes' * state['dirty']}"
    return f"checkout {commit}"


def check_weights(folders: Sequence[Path], table: Path) -> Check:
    """Check that each model's checkpoint exists with the published size. A run checks the content when it loads it."""
    sizes = _published_sizes(table)
    whole: list[str] = []
    missing: list[str] = []
    damaged: list[str] = []
    facts: dict[str, Any] = {}
    for model, spec in RUNNERS.items():
        if spec.checkpoint is None:
            continue
        try:
            path = find_weights(spec.checkpoint, model, folders)
        except ConfigError:
            missing.append(model)
            facts[model] = {"state": "missing", "file": spec.checkpoint}
            continue
        size, published = path.stat().st_size, sizes.get(path.name)
        is_whole = published is None or size == published
        (whole if is_whole else damaged).append(model)
        facts[model] = {"state": "present" if is_whole else "damaged", "file": str(path), "bytes": size, "published_bytes": published}
    parts = [f"{', '.join(names)} {what}" for names, what in ((whole, "found"), (missing, "missing")) if names]
    if damaged:
        files = [Path(facts[model]["file"]) for model in damaged]
        parts = [
            f"{file.name} has {facts[model]['bytes']} of {facts[model]['published_bytes']} bytes"
            for model, file in zip(damaged, files, strict=True)
        ] + parts
        moved = " && ".join(f"mv {short_path(file)} {short_path(file)}.other" for file in files)  # it may be the user's own training
        remedy = f"{moved} && scripts/download_weights.sh {' '.join(damaged)}"
        return Check(TOPIC, "weights", "failure", "; ".join(parts), remedy, facts)
    if missing:
        # Without names, the script fetches everything in its table.
        known = [model for model in missing if RUNNERS[model].checkpoint in sizes]
        names = "" if len(known) == len(sizes) else f" {' '.join(known)}"
        remedy = f"scripts/download_weights.sh{names}" if known else ""
        detail = f"{'; '.join(parts)}; without them only --random_weights works"
        return Check(TOPIC, "weights", "warning", detail, remedy, facts)
    return Check(TOPIC, "weights", "ok", "; ".join(parts), facts=facts)


def _published_sizes(table: Path) -> dict[str, int | None]:
    """Sizes in bytes by file name, from scripts/weights.tsv; None where none is known. Without files that nobody can just fetch."""
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return {row[1]: int(row[2]) if row[2].isdigit() else None for row in rows if len(row) >= 3 and row[4:5] != ["gated"]}
