"""What is verified of a sealed run, without its machine: each check says pass, warn, fail or skip, and what it found.

`fail`: the archive contradicts itself, or its figures must not be quoted. `warn`: they may be quoted with what is said. `skip`: nothing
here tells. The sums find damage and changes of single members. They are no signature: whoever makes an archive can make its sums. What an
archive is known by is its seal, which a publication quotes.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runners.text import one_line
from savbench.data.csv_file import InputError
from savbench.data.dataset import ClipError, DatasetError
from savbench.plan.protocols import PROTOCOL_VERSION
from savbench.results.csv_rows import ResultsError
from savbench.results.run_folder import RUN
from savbench.seal.archive import FILES, MASKS, extract
from savbench.seal.audited import check_audit
from savbench.seal.columns import adapt
from savbench.seal.conditions import check_board, check_code, check_selfcheck, check_weights
from savbench.seal.history import check_coverage, check_sittings, check_wall_time
from savbench.seal.manifest import SealedRun, differences, facts_of, some, split_record
from savbench.seal.outcome import Check, failed, passed, skipped, warned
from savbench.seal.private import absolute_paths
from savbench.validate.run import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Verdict = Literal["pass", "warn", "fail"]

_OTHER_FORM = (AttributeError, TypeError, ValueError, KeyError, IndexError)
"""What JSON of another form than a run writes ends in."""


@dataclass(frozen=True)
class Checked:
    """An archive and what its checks found.

    Attributes:
        seal: what identifies the archive; empty if it cannot be read.
        manifest: as sealed; empty if it cannot be read.
        run: None if the archive or its rows cannot be read.
        folder: where the members are, while it is open.
    """

    path: Path
    seal: str
    manifest: Mapping[str, Any]
    checks: tuple[Check, ...]
    run: SealedRun | None
    folder: Path

    @property
    def verdict(self) -> Verdict:
        """The worst of the checks."""
        verdicts = {check.verdict for check in self.checks}
        return "fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "pass"

    @property
    def submitter(self) -> str:
        return one_line(str(self.manifest.get("submitter") or ""))[:200]

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.path.name,
            "seal": self.seal,
            "verdict": self.verdict,
            "submitter": self.submitter,
            "checks": [asdict(check) for check in self.checks],
        }


@contextlib.contextmanager
def opened(path: Path, split_dir: Path | None = None) -> Iterator[Checked]:
    """Unpack an archive into a temporary folder, and check it.

    Args:
        split_dir: the data set, to compare its hashes and score saved masks again.

    Raises:
        OSError: the archive cannot be opened.
    """
    with tempfile.TemporaryDirectory(prefix="sealed-") as made:
        folder = Path(made)
        yield _checked(path, folder, split_dir)


def _checked(path: Path, folder: Path, split_dir: Path | None) -> Checked:
    manifest, seal, problems = extract(path, folder)
    if not manifest:
        return Checked(path, "", {}, (failed("archive", *problems),), None, folder)
    is_whole = passed("archive", f"{len(manifest['files'])} members, as sealed") if not problems else failed("archive", *problems)
    try:
        adapted = adapt(folder)
        _forget_prompts(folder / RUN)
        run = SealedRun.read(folder)
        report = validate(folder, split_dir, with_masks=split_dir is not None and (folder / MASKS).is_dir())
    except (InputError, ResultsError, OSError, *_OTHER_FORM, RecursionError) as error:
        said = str(error).replace(f"{folder}/", "")
        what = said if isinstance(error, (InputError, ResultsError)) else f"cannot be read ({type(error).__name__}: {said})"
        return Checked(path, seal, manifest, (is_whole, failed("rows", what)), None, folder)
    problems = [line.replace(f"{folder}/", "") for line in report.problems]
    if problems:
        rows = failed("rows", *problems)
    else:
        rows = warned("rows", "; ".join(report.checked), *adapted) if adapted else passed("rows", *report.checked)
    checks = (
        is_whole,
        _guarded("manifest", lambda: _check_manifest(manifest, run)),
        rows,
        _guarded("wall time", lambda: check_wall_time(run)),
        _guarded("coverage", lambda: check_coverage(run, manifest)),
        _guarded("sittings", lambda: check_sittings(run)),
        _guarded("code", lambda: check_code(run)),
        _guarded("weights", lambda: check_weights(run)),
        _guarded("board", lambda: check_board(run)),
        _guarded("selfcheck", lambda: check_selfcheck(run)),
        _guarded("split", lambda: _check_split(run, manifest, split_dir)),
        _check_masks(folder, split_dir, [note for note in report.notes if "not recomputed" in note]),
        _guarded("audit", lambda: check_audit(folder, run)),
        _check_private(folder),
    )
    return Checked(path, seal, manifest, checks, run, folder)


def _forget_prompts(path: Path) -> None:
    """No file that an archive names is opened, such as that of --prompts."""
    about = json.loads(path.read_text(encoding="utf-8"))
    settings = about.get("fingerprint")
    if isinstance(settings, dict) and settings.pop("prompts", None) is not None:
        path.write_text(json.dumps(about), encoding="utf-8")


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """A check's outcome; fail where a file holds JSON of another form than a run writes, in any of its depths."""
    try:
        return check()
    except _OTHER_FORM as error:
        return failed(name, f"a file holds something that no run writes ({type(error).__name__}: {error})")


def _check_manifest(manifest: Mapping[str, Any], run: SealedRun) -> Check:
    """Facts that follow from the files are those that the manifest states."""
    stated, found = manifest.get("facts"), facts_of(run)
    if not isinstance(stated, dict):
        return failed("manifest", "states no facts; seal the run again")
    wrong = [
        f"{name} is stated as {_short(stated.get(name))}, the files give {_short(found[name])}"
        for name in found
        if stated.get(name) != found[name]
    ]
    if wrong:
        return failed("manifest", *wrong)
    versions = found["protocol_versions"]
    if versions != [PROTOCOL_VERSION]:
        told = "none" if not versions else " and ".join(map(str, versions))
        return warned("manifest", f"protocol version {told}; this benchmark is at {PROTOCOL_VERSION}: figures do not stand beside its own")
    return passed("manifest", f"agrees with the files; protocol version {PROTOCOL_VERSION}")


def _check_split(run: SealedRun, manifest: Mapping[str, Any], split_dir: Path | None) -> Check:
    sealed = manifest.get("split")
    if not isinstance(sealed, dict) or not isinstance(sealed.get("videos"), dict):
        return warned("split", f"{manifest.get('split_note') or 'no hashes of its frames and masks'}; seal again where the split is")
    shown = f"{len(sealed['videos'])} videos of {run.about.get('split_name')}, sha256 {str(sealed.get('sha256'))[:12]}"
    if split_dir is None:
        return skipped("split", f"{shown}; --split_dir compares it")
    try:
        now = split_record(run, split_dir)
    except (DatasetError, ClipError, OSError) as error:
        return failed("split", f"cannot be compared: {one_line(str(error))}")
    wrong = differences(sealed["videos"], now["videos"])
    if wrong or sealed.get("sha256") != now["sha256"]:
        return failed("split", *(wrong or ["its hash is not that of its videos"]))
    return passed("split", f"{shown}: the same frames and masks as in {split_dir.name}")


def _check_masks(folder: Path, split_dir: Path | None, not_scored: Sequence[str]) -> Check:
    if not (folder / MASKS).is_dir():
        return skipped("masks", "none are sealed; run with --save_masks for scores that others can compute again")
    if split_dir is None:
        return skipped("masks", "are sealed; --split_dir scores them again")
    if not_scored:
        return skipped("masks", *not_scored)
    return passed("masks", "scored again; what differs is told by `rows`")


def _check_private(folder: Path) -> Check:
    found: dict[str, list[str]] = {}
    for name in FILES:
        path = folder / name
        if path.is_file() and (paths := absolute_paths(path.read_text(encoding="utf-8", errors="replace"))):
            found[name] = paths
    if found:
        return warned("private", *(f"{name} names {some(paths)}" for name, paths in found.items()))
    return passed("private", "no file names a path of a machine")


def _short(content: Any) -> str:
    text = ascii(content)
    return text if len(text) <= 60 else f"{text[:57]}..."
