"""Pair rows between arms.

Arms are the values of what is compared: the `--by` columns, the files, or in a single file the first setting that varies. Rows of two
arms pair if video, object and every setting that is not compared agree. Two settings also agree if one of them is unknown (an older file
lacks it) or does not apply (the dtype of a model that has none); a note names unknown settings.

A block is one choice of the settings that are not compared; within it every arm has at most one row per object. If the arms of a block
differ in a setting that must agree, the comparison is refused; with --force it runs and the output names the differences.

`plan_comparison` turns rows into blocks: each step is a pure function of earlier results.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from savbench.compare.arms import FILE, Arms, Question, find_arms, what_is_compared, with_devices_told_apart
from savbench.compare.blocks import Block, CodedRows, Flags, codes_of, combined, concrete, form_blocks
from savbench.compare.protocol import COLUMN as PROTOCOL_VERSION
from savbench.compare.protocol import RefusedError, require_one_version
from savbench.data.csv_file import InputError
from savbench.results import circumstances
from savbench.results.circumstances import ARM, CIRCUMSTANCES, SETTINGS, TELLS_APART
from savbench.results.foreign import KEY, NOT_APPLICABLE, SHARED, UNKNOWN, Results
from savbench.results.systems import SYSTEM, mixed

if TYPE_CHECKING:
    from collections.abc import Sequence

MUST_AGREE = (*circumstances.MUST_AGREE, SHARED)
"""Circumstances that must agree for results to be comparable; the others may differ, as in a comparison of boards."""
SAY_WHAT_VARIES = ("model", "autocast_dtype", "attention")
"""Settings that may differ without being named in --by, between files or together with the varying setting; they are then compared."""
_ASKED_OF_ALL = ("prompt", "num_points", "max_frames", "frame_stride", "split", "camera_fps", FILE)
"""Settings in which a reference must agree with the arms it is shown beside."""
_SHOWN = {"nvpmodel": "power mode", "weights": "weights (sha256)", "imgsz": "input size"}

Differing = dict[str, tuple[set[str], set[str]]]
"""Values of two arms, by the column in which they differ."""


@dataclass(frozen=True)
class Plan:
    """Arms and blocks to compare.

    Attributes:
        compared: columns whose values are the arms: first the question's columns, then those that differ along with them.
        arms: labels in order; a requested baseline comes first.
        baseline: label of the requested baseline; None takes the first arm of each block.
        blocks: blocks of at least one arm; a block of one arm has nothing to compare.
        forced: differences that --force overrode; print them above every table.
        notes: further notes for the reader.
    """

    compared: tuple[str, ...]
    arms: tuple[str, ...]
    baseline: str | None
    blocks: tuple[Block, ...]
    forced: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Pairing:
    """How rows are paired.

    Attributes:
        compared: columns whose values make up the arms.
        paired_by: columns in which paired rows must agree, besides video and object.
        freed: columns no longer used for pairing, since an arm would have no partner.
        blocks: the resulting blocks.
        forced: differences that --force overrode.
    """

    compared: tuple[str, ...]
    paired_by: tuple[str, ...]
    freed: frozenset[str] = frozenset()
    blocks: tuple[Block, ...] = ()
    forced: tuple[str, ...] = ()


def plan_comparison(results: Results, *, by: Sequence[str] = (), baseline: str | None = None, force: bool = False) -> Plan:
    """Work out arms and blocks.

    Args:
        by: columns whose values are compared; empty compares the files, or the first setting that varies in a single file.
        baseline: label of an arm.
        force: compare arms that differ in other settings too.

    Raises:
        RefusedError: the arms differ in a setting that is not compared, or the results in the version of the protocol.
        InputError: a column or an arm does not exist, two rows stand for the same measurement, or no rows pair.
    """
    require_one_version(results.rows, force=force or PROTOCOL_VERSION in by)
    question = what_is_compared(results, by)
    rows = with_devices_told_apart(results.rows, question)
    arms = find_arms(rows, question, baseline)
    every_row = _coded(rows, arms)
    keys = _first_keys(every_row, arms, question)
    table, repeats = _without_repeated_rows(every_row, arms, keys)
    pairing = _paired(table, arms, keys)
    pairing = _with_partners(table, arms, question, pairing, force)
    _require_one_row_per_object(table, pairing)
    pairing = _agreeing(table, pairing, force)
    _require_a_pair(arms, pairing)
    pairing = _unmixed(table, pairing, force)
    blocks = tuple(_with_references(table, arms, block) for block in pairing.blocks)
    also = [name for name in pairing.compared if name not in question.columns]
    said = [f"the arms also differ in {', '.join(also)}: what is compared is the arms as a whole"] if also else []
    return Plan(pairing.compared, arms.labels, baseline, blocks, pairing.forced, (*said, *question.notes, *repeats))


def _coded(rows: pd.DataFrame, arms: Arms) -> CodedRows:
    names = dict.fromkeys((*KEY, FILE, *SETTINGS, SHARED))
    return CodedRows(rows, {name: codes_of(rows[name].to_numpy(dtype=object)) for name in names}, ~arms.is_reference)


def _first_keys(table: CodedRows, arms: Arms, question: Question) -> _Pairing:
    """Pair rows by the columns that define an arm, and by the columns that must agree and vary within an arm."""
    of_arms = [name for name in ARM if name not in question.columns]
    varying = [name for name in MUST_AGREE if name not in question.columns and _varies_within(table, arms, of_arms, name)]
    return _Pairing(question.columns, (*of_arms, *varying))


def _varies_within(table: CodedRows, arms: Arms, paired_by: Sequence[str], name: str) -> bool:
    known = (table.rows[name] != UNKNOWN).to_numpy()
    without = table.groups(paired_by, arms.codes)
    return len(np.unique(combined([without, table.codes[name]])[known])) > len(np.unique(without[known]))


def _without_repeated_rows(table: CodedRows, arms: Arms, pairing: _Pairing) -> tuple[CodedRows, tuple[str, ...]]:
    """Count repeated rows once, for example from overlapping shards; a note names the first."""
    alike_in = [name for name in table.rows.columns if name not in ("path", "line", *(() if FILE in pairing.compared else (FILE,)))]
    suspects = np.flatnonzero(_there_twice(table, arms, pairing.paired_by))
    again = table.rows.iloc[suspects].duplicated(subset=alike_in).to_numpy()
    dropped = suspects[again]
    if not dropped.size:
        return table, ()
    first = table.rows.iloc[dropped[0]]
    live = table.live.copy()
    live[dropped] = False
    note = f"{first['path']}:{first['line']}: the same row as an earlier one ({len(dropped)} such rows); counted once"
    return replace(table, live=live), (note,)


def _there_twice(table: CodedRows, arms: Arms, paired_by: Sequence[str]) -> Flags:
    """Flag every live row that shares arm, setting and object with another."""
    measurement = table.groups((*paired_by, *KEY), arms.codes)
    counts = np.bincount(measurement[table.live], minlength=len(measurement))
    twice: Flags = (counts[measurement] > 1) & table.live
    return twice


def _paired(table: CodedRows, arms: Arms, pairing: _Pairing) -> _Pairing:
    """Add the blocks, pairing by further settings if two rows would otherwise stand for the same measurement.

    Raises:
        InputError: no further setting separates such rows.
    """
    paired_by = pairing.paired_by
    twice = _there_twice(table, arms, paired_by)
    for name in TELLS_APART if twice.any() else ():
        taken = name in paired_by or name in pairing.compared or name in pairing.freed
        if not taken and len(set(table.rows.loc[twice, name])) > 1:
            paired_by = (*paired_by, name)
            twice = _there_twice(table, arms, paired_by)
    if twice.any() and FILE not in pairing.compared and table.rows.loc[twice, "device_name"].eq(UNKNOWN).all():
        paired_by = (*paired_by, FILE)
        twice = _there_twice(table, arms, paired_by)
    if twice.any():
        measurement = table.groups((*paired_by, *KEY), arms.codes)
        refuse_twice(table.rows[twice & (measurement == measurement[twice.argmax()])])
    return replace(pairing, paired_by=paired_by, blocks=form_blocks(table, paired_by, arms.of_row, arms.labels))


def refuse_twice(same: pd.DataFrame) -> None:
    """Refuse duplicate rows.

    Args:
        same: rows that stand for the same measurement.

    Raises:
        InputError: always; names the lines.
    """
    first = same.iloc[0]
    where = " and ".join(f"{row.path}:{row.line}" for row in same.head(2).itertuples())
    varying = [name for name in (*ARM, *CIRCUMSTANCES, "run_id", FILE) if name in same and len(set(same[name])) > 1]
    remedy = f"compare them with --by {varying[0]}" if varying else "remove one of them"
    raise InputError(f"{where}: two rows for {first['video']}/{first['object']} under the same arm; {remedy}")


def _with_partners(table: CodedRows, arms: Arms, question: Question, pairing: _Pairing, force: bool) -> _Pairing:
    """If an arm has no partner because a setting has no common value, compare that setting too, force it, or refuse.

    Every round frees a setting or gives up an arm, so the loop ends after at most as many rounds as there are settings and arms.
    """
    alone: set[str] = set()
    while lonely := _lonely_arm(arms, pairing, alone):
        partner = arms.baseline or next(arm for arm in arms.labels if arm != lonely)
        apart = _apart(table, arms, pairing, partner, lonely)
        if not apart:
            alone.add(lonely)
            continue
        allowed = tuple(name for name in apart if question.is_inferred and name in SAY_WHAT_VARIES)
        said = _said_or_refused(pairing, partner, lonely, {name: of for name, of in apart.items() if name not in allowed}, force)
        freed = replace(
            pairing,
            compared=(*pairing.compared, *allowed),
            paired_by=tuple(name for name in pairing.paired_by if name not in apart),
            # a freed column must not be used for pairing again: the arm would lose its partner again, in an endless loop
            freed=pairing.freed | set(apart),
            forced=_once(pairing.forced, said),
        )
        pairing = _paired(table, arms, freed)
    return pairing


def _lonely_arm(arms: Arms, pairing: _Pairing, alone: set[str]) -> str | None:
    """Return an arm without a partner, considering the first arm last; None if every arm has one."""
    if len(arms.labels) == 1:
        return None
    for arm in (*arms.labels[1:], arms.labels[0]):
        partners = {other for block in pairing.blocks if arm in block.arms for other in block.arms} - {arm}
        is_lonely = arms.baseline not in partners if arms.baseline is not None else not partners
        if is_lonely and arm != arms.baseline and arm not in alone:
            return arm
    return None


def _apart(table: CodedRows, arms: Arms, pairing: _Pairing, one: str, other: str) -> Differing:
    """Return the settings in which two arms have no common value, over the models that both have."""
    of_one, of_other = (table.rows[arms.of_row == arm] for arm in (one, other))
    common = set(of_one["model"]) & set(of_other["model"])
    if common and "model" in pairing.paired_by:
        of_one, of_other = (part[part["model"].isin(common)] for part in (of_one, of_other))
    apart = {}
    for name in pairing.paired_by:
        ours, theirs = concrete(of_one[name]), concrete(of_other[name])
        if ours and theirs and not ours & theirs:
            apart[name] = (ours, theirs)
    return apart


def _require_one_row_per_object(table: CodedRows, pairing: _Pairing) -> None:
    """Check for duplicates within blocks: a row with an unknown setting joins every block it agrees with, and may repeat an object.

    Raises:
        InputError: an arm of a block has an object twice.
    """
    keys = table.groups(KEY)
    for block in pairing.blocks:
        for positions in block.arms.values():
            _, first, counts = np.unique(keys[positions], return_index=True, return_counts=True)
            if (counts > 1).any():
                key = keys[positions[first[int((counts > 1).argmax())]]]
                refuse_twice(table.rows.iloc[positions[keys[positions] == key]])


def _agreeing(table: CodedRows, pairing: _Pairing, force: bool) -> _Pairing:
    """Refuse or force differences within a block in columns that must agree and are neither compared nor used for pairing."""
    exempt = {"weights"} if "model" in pairing.compared else set()
    forced = pairing.forced
    for block in pairing.blocks:
        first, *others = block.arms
        for other in others:
            differing = {}
            for name in MUST_AGREE:
                if name in pairing.compared or name in pairing.paired_by or name in exempt:
                    continue
                ours, theirs = (concrete(table.rows[name].to_numpy()[block.arms[arm]]) for arm in (first, other))
                if ours and theirs and ours != theirs:
                    differing[name] = (ours, theirs)
            forced = _once(forced, _said_or_refused(pairing, first, other, differing, force))
    return replace(pairing, forced=forced)


def _said_or_refused(pairing: _Pairing, one: str, other: str, differing: Differing, force: bool) -> str:
    """Describe what was forced; empty if nothing differs.

    Raises:
        RefusedError: a setting differs and `force` is off.
    """
    if not differing:
        return ""
    said = "; ".join(f"{_SHOWN.get(name, name)}: {_values(ours)} and {_values(theirs)}" for name, (ours, theirs) in differing.items())
    if not force:
        columns = ",".join([*(name for name in pairing.compared if name != FILE), *differing])
        remedy = f"measure both alike, compare that on purpose with --by {columns}, or give --force"
        raise RefusedError(f"refused: {one} and {other} differ in what is not compared ({said}); {remedy}")
    return f"FORCED: {one} and {other} differ in {said}"


def _once(lines: tuple[str, ...], line: str) -> tuple[str, ...]:
    return lines if not line or line in lines else (*lines, line)


def _unmixed(table: CodedRows, pairing: _Pairing, force: bool) -> _Pairing:
    """Check that the rows of each arm come from one system.

    Raises:
        RefusedError: rows of one arm come from different systems, and `force` is off.
    """
    rows = table.rows[table.live & (table.rows["failure"] == "").to_numpy()]
    if "arm_id" not in rows:
        return pairing
    forced = pairing.forced
    columns = [name for name in SYSTEM if name not in pairing.compared]
    within = [name for name in (*((FILE,) if FILE in pairing.compared else ()), "arm_id", "node") if name in rows]
    for _, part in rows.groupby(within, sort=False):
        if part.duplicated(list(KEY)).any():
            # several runs combined, which are separated elsewhere
            continue
        distinct = part[[name for name in columns if name in part]].drop_duplicates().to_dict("records")
        told = ({str(name): text for name, text in system.items() if text not in ("", UNKNOWN, NOT_APPLICABLE)} for system in distinct)
        for what in mixed(told):
            said = f"{part['arm_id'].iloc[0]} is one arm of two systems ({what})"
            if not force:
                column = what.partition(" ")[0]
                remedy = f"measure the arm anew, compare them on purpose with --by {column}, or give --force"
                raise RefusedError(f"refused: {said}; {remedy}")
            forced = _once(forced, f"FORCED: {said}")
    return replace(pairing, forced=forced)


def _with_references(table: CodedRows, arms: Arms, block: Block) -> Block:
    """Add the reference rows that agree with the block in the settings of `_ASKED_OF_ALL`."""
    rows = table.rows
    beside = arms.is_reference.copy()
    for name, value in block.setting.items():
        if name in _ASKED_OF_ALL:
            beside &= rows[name].isin([value, UNKNOWN, NOT_APPLICABLE]).to_numpy() | (value in (UNKNOWN, NOT_APPLICABLE))
    # keep one row per model and object, even if several files have it
    at = np.flatnonzero(beside)[~rows[beside].duplicated(["model", *KEY]).to_numpy()]
    models = rows["model"].to_numpy()[at]
    return replace(block, references={str(model): at[models == model] for model in dict.fromkeys(models)})


def _require_a_pair(arms: Arms, pairing: _Pairing) -> None:
    """Check that at least two arms pair.

    Raises:
        InputError: there are several arms and no rows of any two pair.
    """
    if arms.baseline is None and len(arms.labels) > 1 and not any(len(block.arms) > 1 for block in pairing.blocks):
        named = " and ".join(arms.labels)
        raise InputError(f"no rows of {named} pair up: {_listing(pairing.blocks)}; name what to compare with --by")


def _values(values: set[str]) -> str:
    return ", ".join(value[:12] for value in sorted(values))


def _listing(blocks: Sequence[Block]) -> str:
    shown = [(", ".join(block.arms), " ".join(v for v in block.setting.values() if v not in (NOT_APPLICABLE, UNKNOWN))) for block in blocks]
    return "; ".join(f"{arms}: {setting}" for arms, setting in shown[:6])
