"""Sealing a run: its files without private texts, the facts that follow from them, and hashes of what they were measured on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from runners.text import one_line
from savbench.data.csv_file import InputError
from savbench.data.dataset import ClipError, DatasetError
from savbench.plan.protocols import PROTOCOL_VERSION
from savbench.results.csv_rows import ResultsError
from savbench.results.environment import CHECKOUT, code_sha256, git_state
from savbench.results.run_folder import RUN, SUMMARY
from savbench.seal.archive import FILES, MASKS, REQUIRED, SCHEMA, SealError, write_archive
from savbench.seal.manifest import SealedRun, facts_of, split_record
from savbench.seal.private import Scrubber
from savbench.validate.run import validate

if TYPE_CHECKING:
    from collections.abc import Callable


def seal(folder: Path, output: Path, *, submitter: str, split_dir: Path | None, say: Callable[[str], None]) -> str:
    """Seal a run. Returns the archive's seal.

    Args:
        folder: the run's folder; nothing in it is changed.
        submitter: who stands for it and how to reach them; empty: nobody.
        split_dir: where the split is; None: where run.json says.
        say: takes lines about what is done.

    Raises:
        SealError: the folder holds no run, or `validate` finds that its files disagree.
        OSError: the archive cannot be written.
    """
    run = read_run(folder)
    problems = validate(folder, with_masks=False).problems
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise SealError(f"{folder}: its files disagree, so nobody could check them: {problems[0]}{more}; see `validate {folder}`")
    split, note = _split(run, split_dir, say)
    scrubber = Scrubber(folder, run.invocations, [row.node for row in run.rows])
    members: dict[str, bytes | Path] = {}
    for name in FILES:
        path = folder / name
        if path.is_file():
            text = scrubber.scrub(path.read_text(encoding="utf-8", errors="surrogateescape"))
            members[name] = text.encode("utf-8", "surrogateescape")
    for path in sorted((folder / MASKS).rglob("*.png")):
        members[path.relative_to(folder).as_posix()] = path
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "submitter": one_line(submitter),
        "facts": facts_of(run),
        "split": split,
        "split_note": note,
        "removed": dict(sorted(scrubber.removed.items())),
        "sealed_by": {
            "benchmark": git_state(CHECKOUT / "pyproject.toml"), "code_sha256": code_sha256(), "protocol_version": PROTOCOL_VERSION,
        },
    }  # fmt: skip
    if scrubber.removed:
        told = ", ".join(f"{count} {what}" for what, count in sorted(scrubber.removed.items()))
        say(f"taken out: {told}")
    return write_archive(output, manifest, members)


def read_run(folder: Path) -> SealedRun:
    """
    Raises:
        SealError: the folder holds no run.
    """
    if not folder.is_dir():
        raise SealError(f"{folder}: no such folder; give the folder of a run")
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if missing:
        raise SealError(f"{folder}: has no {' and no '.join(missing)}; give the folder of a run, which has {', '.join(REQUIRED)}")
    try:
        run = SealedRun.read(folder)
    except (ResultsError, InputError, OSError, ValueError, KeyError, TypeError) as error:
        raise SealError(f"{folder}: {one_line(str(error)) or type(error).__name__}; see `validate {folder}`") from error
    if not run.rows:
        raise SealError(f"{folder}: {SUMMARY} has no row, there is nothing to seal; finish the run first")
    return run


def _split(run: SealedRun, split_dir: Path | None, say: Callable[[str], None]) -> tuple[dict[str, Any] | None, str]:
    """Hashes of the split, or None and the reason without names of folders."""
    where = split_dir or Path(str(run.about.get("split_dir") or ""))
    say(f"hashing the frames and masks of {len({video for video, _ in run.objects})} videos in {where}")
    try:
        prompts = run.settings().get("prompts")
        return split_record(run, where, Path(prompts) if prompts else None), ""
    except (DatasetError, ClipError, OSError) as error:
        if split_dir is not None:
            raise SealError(f"--split_dir {split_dir}: {one_line(str(error))}") from error
        say(f"the split is not hashed: {one_line(str(error))}; give its folder with --split_dir ({RUN} names another)")
        return None, "the split was not at hand when it was sealed"
