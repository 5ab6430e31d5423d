"""The audit of caching: a sample of videos runs again under other names, in another order and from another folder.

A model that computes its masks gives the same scores and takes the same time. One that has remembered them, by a video's name, a file's
path or the order of calls, gives other scores or needs longer. MLPerf audits submissions in this way ("TEST04", caching). It does not find
a model that recognises pixels.
"""

from __future__ import annotations

import datetime
import json
import random
import secrets
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import TYPE_CHECKING, Any, Literal

from savbench.arguments.errors import UserError
from savbench.data.conversion import convert
from savbench.data.dataset import open_split
from savbench.data.listing import FRAMES_DIR, MASKS_DIR
from savbench.data.video import in_order
from savbench.plan.arms import plan_arms
from savbench.plan.config_file import read_config
from savbench.plan.settings import RunConfig
from savbench.plan.split import split_of
from savbench.results.csv_rows import read_rows
from savbench.results.rows import SummaryRow
from savbench.results.run_folder import CONFIG, SUMMARY
from savbench.results.systems import whole_id
from savbench.seal.archive import AUDIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from savbench.data.dataset import Split
    from savbench.supervise.progress import Progress

VIDEOS = 2
"""Videos of the sample: their objects give tens of minutes of work on a board at most, and hundreds of latencies."""
MOST_SCORE_CHANGE = 0.01
"""Mean change of J&F of an arm's objects from which masks were not the same. Repeated runs of a model differ by less, mostly by nothing."""
SLOWER, MUCH_SLOWER = 1.2, 1.5
"""Ratio of median latencies, again to before, from which it is told, and from which the run was faster than the model is."""

Key = tuple[str, str]
"""Video and object."""


class AuditError(UserError, RuntimeError):
    """The audit cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class AuditedObject:
    """One object of one arm, before and again. None: no figure."""

    arm_id: str
    video: str
    object: str
    JandF: float | None
    JandF_again: float | None
    latency_p50_ms: float | None
    latency_p50_ms_again: float | None
    status_again: str


@dataclass(frozen=True)
class Audit:
    """What is written to audit.json."""

    run_id: str
    when: str
    """ISO 8601, UTC."""
    seed: int
    benchmark_versions: tuple[str, ...]
    objects: tuple[AuditedObject, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Audit:
        """
        Raises:
            ValueError: it is something else.
        """
        try:
            names = {field.name for field in fields(cls)}
            if data.keys() != names:
                raise ValueError(f"entries {', '.join(data)}")
            objects = tuple(AuditedObject(**one) for one in data["objects"])
            for one in objects:
                for name in ("JandF", "JandF_again", "latency_p50_ms", "latency_p50_ms_again"):
                    value = getattr(one, name)
                    if value is not None and not (isinstance(value, (int, float)) and 0 <= value < 1e9):
                        raise ValueError(f"{name} {value!r}")
            return cls(**{**data, "objects": objects, "benchmark_versions": tuple(data["benchmark_versions"])})
        except (TypeError, AttributeError, KeyError) as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class ArmAudit:
    """What the audit says of one arm.

    Attributes:
        verdict: `fail`: the run knew something of its videos but their pixels; `warn`: times differ more than they usually do.
        said: in words.
    """

    arm_id: str
    verdict: Literal["pass", "warn", "fail"]
    said: str


def audit_run(folder: Path, videos: int, progress: Progress) -> Audit:
    """Run a sample of a run's videos again under every arm, and write audit.json into the run's folder.

    Raises:
        AuditError: the run has no object with figures, or the sample cannot be run.
        UserError: as `savbench.supervise.run.run`.
    """
    # what is imported here is needed by no check
    from savbench.supervise.interrupts import EXIT_INTERRUPTED
    from savbench.supervise.run import run

    rows = [row for row in read_rows(SummaryRow, folder / SUMMARY) if row.status == "ok"]
    if not rows:
        raise AuditError(f"{folder}: no row has figures that could be compared; leave out --audit")
    config = RunConfig(**read_config(folder / CONFIG))
    if config.executor != "local":
        raise AuditError(f"audit: --executor {config.executor} measured on other machines, which do not see the copy; leave out --audit")
    split = split_of(config)
    seed = secrets.randbelow(2**32)
    chance = random.Random(seed)
    measured = sorted({row.video for row in rows})
    sample = sorted(chance.sample(measured, min(videos, len(measured))))
    with tempfile.TemporaryDirectory(prefix="audit-") as made:
        copy, out_dir = Path(made) / f"split_{seed}", Path(made) / "run"
        names = copy_under_other_names(split, sample, copy, chance)
        progress.say(f"audit: {', '.join(sample)} again under {'one other name' if len(sample) == 1 else 'other names, in another order'}")
        again = again_config(config, copy, out_dir)
        if run(again, ["audit"], progress) == EXIT_INTERRUPTED:
            raise AuditError("audit: interrupted; nothing was sealed, give the same command again")
        arms = zip(plan_arms(config, split.name), plan_arms(again, copy.name), strict=True)
        found = _pairs(rows, read_rows(SummaryRow, out_dir / SUMMARY), {one.arm_id: other.arm_id for one, other in arms}, names)
    versions = tuple(sorted({row.benchmark_version for row in rows}))
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    audit = Audit(rows[0].run_id, now, seed, versions, tuple(found))
    (folder / AUDIT).write_text(json.dumps(audit.to_json(), indent=1) + "\n", encoding="utf-8")
    return audit


def again_config(config: RunConfig, split_dir: Path, out_dir: Path) -> RunConfig:
    """The run's settings for the sample: all that decide what is measured, none of what selects objects, repeats them or saves pictures."""
    return replace(
        config,
        split_dir=split_dir, split_name=None, layout="sav", out_dir=out_dir, limit_videos=None, shuffle_videos=False,
        shard=None, plan=None, sustained_minutes=None, stop_when_decided=None, save_masks=False, save_overlays=None, agreement=None,
        realtime_fps=None, realtime_from=None, retry_failed=False, accept_changes=False, prompts=None, click=None,
    )  # fmt: skip


def copy_under_other_names(split: Split, videos: Sequence[str], copy: Path, chance: random.Random) -> dict[Key, Key]:
    """Write videos of a split into a new folder in SA-V's layout, under names and in an order of chance.

    Returns:
        (video, object) in the copy of each (video, object).

    Raises:
        AuditError: a video cannot be written in that layout.
    """
    objects = {video: sorted((obj.object for obj in split.video(video).objects), key=in_order) for video in videos}
    listed, split.videos = split.videos, list(videos)
    try:
        written = convert(split, copy, "sav")
    finally:
        split.videos = listed
    if written.problems:
        raise AuditError(f"audit: {'; '.join(written.problems.values())}; convert the data set to SA-V's layout and run on that")
    names = {video: f"{chance.getrandbits(48):012x}" for video in videos}
    for video, name in names.items():
        for parent in (FRAMES_DIR, MASKS_DIR):
            for path in [one for one in (copy / parent).iterdir() if one.name == video or one.stem == video]:
                path.rename(path.with_name(f"{name}{path.suffix if path.is_file() else ''}"))
    for path in copy.glob("*.txt"):
        path.unlink()
    (copy / f"{copy.name}.txt").write_text("\n".join(sorted(names.values())) + "\n", encoding="utf-8")
    renamed = open_split(copy, None, "sav")
    return {
        (video, obj): (names[video], other)
        for video, of_video in objects.items()
        for obj, other in zip(of_video, sorted((one.object for one in renamed.video(names[video]).objects), key=in_order), strict=True)
    }


def _pairs(
    before: Sequence[SummaryRow], again: Sequence[SummaryRow], arms: Mapping[str, str], names: Mapping[Key, Key]
) -> list[AuditedObject]:
    theirs = {(row.arm_id, row.video, row.object): row for row in again}
    found = []
    for row in before:
        arm, key = arms.get(whole_id(row.arm_id)), names.get((row.video, row.object))
        if arm is None or key is None:
            continue
        other = theirs.get((arm, *key))
        found.append(
            AuditedObject(
                row.arm_id, row.video, row.object, row.JandF, None if other is None else other.JandF, row.latency_p50_ms,
                None if other is None else other.latency_p50_ms, "missing" if other is None else other.status,
            )
        )  # fmt: skip
    return found


def judge(audit: Audit) -> list[ArmAudit]:
    """What the audit says of each arm, in the order of the run."""
    of_arm: dict[str, list[AuditedObject]] = defaultdict(list)
    for one in audit.objects:
        of_arm[one.arm_id].append(one)
    return [_judge(arm_id, objects) for arm_id, objects in of_arm.items()]


def _judge(arm_id: str, objects: Sequence[AuditedObject]) -> ArmAudit:
    lost = [one for one in objects if one.status_again != "ok"]
    if lost:
        return ArmAudit(
            arm_id, "fail", f"{len(lost)} of {len(objects)} objects have no figures under another name ({lost[0].status_again})"
        )
    changes = [abs(one.JandF - one.JandF_again) for one in objects if one.JandF is not None and one.JandF_again is not None]
    ratios = [one.latency_p50_ms_again / one.latency_p50_ms for one in objects if one.latency_p50_ms and one.latency_p50_ms_again]
    ratio = geometric_mean(ratios) if ratios else 1.0
    same = "the same J&F" if not any(changes) else f"J&F differs by {fmean(changes):.4f}, by {max(changes):.4f} at most"
    said = f"{len(objects)} objects under other names: {same}; median latency x{ratio:.2f}"
    if changes and fmean(changes) > MOST_SCORE_CHANGE:
        return ArmAudit(arm_id, "fail", f"{said}: the masks depend on names, paths or order")
    if ratio > MUCH_SLOWER:
        return ArmAudit(arm_id, "fail", f"{said}: the run was faster than the model is on videos that it has not seen")
    return ArmAudit(arm_id, "pass" if 1 / SLOWER <= ratio <= SLOWER else "warn", said)
