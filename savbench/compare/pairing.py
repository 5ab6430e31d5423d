"""Which rows are set against which.

Arms are the values of what is compared: the `--by` columns, the files, or in a single file the first setting that varies. Rows of two
arms pair where video, object and every setting that is not compared agree. Settings agree where one of them is unknown (an older file does
not tell it) or does not apply (the dtype of a model that computes without one); what was unknown is said.

A block is one choice of the settings that are not compared; within it every arm has at most one row per object. What differs between
the arms of a block without being compared makes the comparison refused, or forced with the differences said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from savbench.data.csv_file import InputError
from savbench.results.foreign import ARM, CIRCUMSTANCES, KEY, NOT_APPLICABLE, SETTINGS, SHARED, UNKNOWN, Results

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Positions = npt.NDArray[np.int64]
"""Positions of rows in `Results.rows`."""
Setting = tuple[str, ...]
"""Values of the columns that rows are paired by."""

FILE = "file"
MUST_AGREE = ("num_points", "num_maskmem", "max_frames", "frame_stride", "split", "weights", "nvpmodel", "camera_fps", SHARED)
"""Circumstances under which results cannot be compared where they differ; the others are what a comparison of boards is about."""
SAY_WHAT_VARIES = ("model", "autocast_dtype", "attention")
"""What may differ between two files, or go along with what varies in one, without being asked for: it is then what is compared."""
_TELL_APART = (
    "device", "device_name", "nvpmodel", "seed", "jetson_clocks", "warmup_frames", "implementation", "torch_version", "camera_fps",
    "streaming_device", "streaming_clock", "compile", "compile_mode", "memory", "prefetch",
)  # fmt: skip
_INFER_FROM = tuple(dict.fromkeys((*ARM, "device_name", "device", "nvpmodel", *CIRCUMSTANCES)))
_SHOWN = {"nvpmodel": "power mode", "weights": "weights (sha256)", "imgsz": "input size"}


class RefusedError(InputError):
    """The arms differ in something that is not compared; `--force` compares them all the same."""


@dataclass
class Block:
    """Rows that agree in everything that is not compared.

    Attributes:
        setting: the columns rows are paired by and their values.
        arms: positions of the rows by arm, in the order of the arms; usable rows and others.
    """

    setting: dict[str, str]
    arms: dict[str, Positions]


@dataclass
class Plan:
    """What is set against what.

    Attributes:
        compared: the columns whose values are the arms, first what was asked for, then what goes along with it.
        arms: labels in order; the baseline first.
        baseline: the arm that was asked for as baseline; None takes the first arm of each block.
        blocks: with at least one arm each; those with one have nothing to be compared with.
        forced: differences that were overridden, to be printed above every table.
        notes: what else a reader has to know.
    """

    compared: tuple[str, ...]
    arms: list[str]
    baseline: str | None
    blocks: list[Block]
    forced: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plan_comparison(results: Results, *, by: Sequence[str] = (), baseline: str | None = None, force: bool = False) -> Plan:
    """Work out arms and blocks.

    Args:
        by: columns whose values are compared; empty compares the files, or what varies in a single one.
        baseline: an arm, by its label.
        force: compare what differs in settings that are not compared.

    Raises:
        RefusedError: the arms differ in something that is not compared.
        InputError: a column or an arm does not exist, or two rows measure the same.
    """
    rows = results.rows
    notes: list[str] = []
    compared, is_inferred = _compared_columns(results, by, notes)
    arm_of_row = _arm_labels(rows, compared)
    arms = list(dict.fromkeys(arm_of_row))
    if baseline is not None:
        if baseline not in arms:
            raise InputError(f"--baseline {baseline}: no such arm; there are {', '.join(arms)}")
        arms.sort(key=lambda arm: arm != baseline)
    pairer = _Pairer(rows, arm_of_row, arms, list(compared), notes, force)
    pairer.free_lonely_arms(baseline, is_inferred)
    pairer.require_one_row_per_object()
    pairer.require_agreement()
    also = [name for name in pairer.compared if name not in compared]
    if also:
        notes.insert(0, f"the arms also differ in {', '.join(also)}: what is compared is the arms as a whole")
    if baseline is None and not any(len(block.arms) > 1 for block in pairer.blocks) and len(arms) > 1:
        raise InputError(f"no rows of {' and '.join(arms)} pair up: {_listing(pairer.blocks)}; name what to compare with --by")
    return Plan(tuple(pairer.compared), arms, baseline, pairer.blocks, pairer.forced, notes)


def _compared_columns(results: Results, by: Sequence[str], notes: list[str]) -> tuple[tuple[str, ...], bool]:
    """The columns that are compared, and whether nobody asked for them by name."""
    rows = results.rows
    if by:
        for name in by:
            if name not in rows.columns or name in ("path", "line", *KEY):
                settings = [column for column in SETTINGS if column in rows.columns]
                raise InputError(f"--by {name}: no such column to compare by; usual are {', '.join([FILE, *settings])}")
        columns = tuple(dict.fromkeys(name for given in by for name in (("device", "device_name") if given == "device" else (given,))))
        if "device_name" in columns:
            # files that do not tell their device are told apart by their names
            untold = rows["device_name"] == UNKNOWN
            rows["device_name"] = rows["device_name"].where(~untold, rows[FILE])
        return columns, False
    if len(results.labels) > 1:
        return (FILE,), True
    varying = [name for name in _INFER_FROM if len(_concrete(rows[name])) > 1]
    if not varying:
        notes.append("one arm: there is nothing to compare it with")
        return ("model",), True
    first, others = varying[0], [name for name in varying[1:] if name in (*ARM, "device_name", "nvpmodel")]
    shown = f" (also varying: {', '.join(others)}; --by compares another column)" if others else ""
    notes.append(f"{first} varies and is what is compared{shown}")
    return (first,), True


def _arm_labels(rows: pd.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.object_]:
    shown = []
    for name in columns:
        values = [str(value) for value in rows[name]]
        shown.append([value[:8] for value in values] if name == "weights" else values)
    labels = np.empty(len(rows), dtype=object)
    labels[:] = [" ".join(dict.fromkeys(parts)) for parts in zip(*shown, strict=True)]
    return labels


class _Pairer:
    """Forms blocks, and takes settings out of the pairing until every arm has a partner."""

    def __init__(
        self, rows: pd.DataFrame, arm_of_row: npt.NDArray[np.object_], arms: list[str], compared: list[str], notes: list[str], force: bool
    ) -> None:
        self._rows = rows
        self._arm_of_row = arm_of_row
        self._arms = arms
        self._notes = notes
        self._force = force
        self.compared = compared
        self.forced: list[str] = []
        self._live = np.ones(len(rows), np.bool_)
        self._arm_codes = _codes_of(arm_of_row)
        self._codes: dict[str, Positions] = {}
        self._freed: set[str] = set()
        paired_by = [name for name in ARM if name not in compared]
        paired_by += [name for name in MUST_AGREE if name not in compared and self._varies_within(name, paired_by)]
        self._paired_by = paired_by
        self._drop_identical_rows()
        self._tell_rows_apart()
        self.blocks = self._form_blocks()

    def free_lonely_arms(self, baseline: str | None, is_inferred: bool) -> None:
        """Where an arm meets no other because a setting differs outright, that setting is compared too, forced, or refused."""
        accepted: set[str] = set()
        while lonely := next(
            (arm for arm in (*self._arms[1:], self._arms[0]) if arm not in accepted and self._is_lonely(arm, baseline)), None
        ):
            partner = baseline or next(arm for arm in self._arms if arm != lonely)
            apart = self._apart(partner, lonely)
            allowed = [name for name in apart if is_inferred and name in SAY_WHAT_VARIES]
            self._refuse_or_force(partner, lonely, {name: values for name, values in apart.items() if name not in allowed})
            self.compared += allowed
            self._paired_by = [name for name in self._paired_by if name not in apart]
            # what rows are no longer paired by must not come back to tell them apart: the arm would be lonely again, without end
            self._freed |= set(apart)
            if not apart:
                accepted.add(lonely)
            self._tell_rows_apart()
            self.blocks = self._form_blocks()

    def require_one_row_per_object(self) -> None:
        """Rows that do not tell a setting join every block that they agree with, where another row may stand for the same object.

        Raises:
            InputError: an arm of a block has an object twice.
        """
        keys = _combined([self._code(name) for name in KEY])
        for block in self.blocks:
            for positions in block.arms.values():
                _, first, counts = np.unique(keys[positions], return_index=True, return_counts=True)
                if (counts > 1).any():
                    key = keys[positions[first[int((counts > 1).argmax())]]]
                    self._refuse_twice(self._rows.iloc[positions[keys[positions] == key]])

    def require_agreement(self) -> None:
        """Refuse or force what differs within a block without being compared or paired by."""
        exempt = {"weights"} if "model" in self.compared else set()
        for block in self.blocks:
            first, *others = block.arms
            for other in others:
                differing = {}
                for name in MUST_AGREE:
                    if name in self.compared or name in self._paired_by or name in exempt:
                        continue
                    ours, theirs = (_concrete(self._rows[name].to_numpy()[block.arms[arm]]) for arm in (first, other))
                    if ours and theirs and ours != theirs:
                        differing[name] = (ours, theirs)
                self._refuse_or_force(first, other, differing)

    def _varies_within(self, name: str, paired_by: list[str]) -> bool:
        known = (self._rows[name] != UNKNOWN).to_numpy()
        without = _combined([self._arm_codes, *map(self._code, paired_by)])
        return len(np.unique(_combined([without, self._code(name)])[known])) > len(np.unique(without[known]))

    def _code(self, name: str) -> Positions:
        """The values of a column as numbers."""
        if name not in self._codes:
            self._codes[name] = _codes_of(self._rows[name].to_numpy(dtype=object))
        return self._codes[name]

    def _is_lonely(self, arm: str, baseline: str | None) -> bool:
        partners = {other for block in self.blocks if arm in block.arms for other in block.arms} - {arm}
        if len(self._arms) == 1 or arm == baseline:
            return False
        return not partners or (baseline is not None and baseline not in partners)

    def _apart(self, one: str, other: str) -> dict[str, tuple[set[str], set[str]]]:
        """Settings in which two arms have no value in common, over the models that both have."""
        of_one, of_other = (self._rows[self._arm_of_row == arm] for arm in (one, other))
        common = set(of_one["model"]) & set(of_other["model"])
        if common and "model" in self._paired_by:
            of_one, of_other = (part[part["model"].isin(common)] for part in (of_one, of_other))
        apart = {}
        for name in self._paired_by:
            ours, theirs = _concrete(of_one[name]), _concrete(of_other[name])
            if ours and theirs and not ours & theirs:
                apart[name] = (ours, theirs)
        return apart

    def _refuse_or_force(self, one: str, other: str, differing: dict[str, tuple[set[str], set[str]]]) -> None:
        if not differing:
            return
        said = "; ".join(f"{_SHOWN.get(name, name)}: {_values(ours)} and {_values(theirs)}" for name, (ours, theirs) in differing.items())
        if not self._force:
            columns = ",".join([*(name for name in self.compared if name != FILE), *differing])
            remedy = f"measure both alike, compare that on purpose with --by {columns}, or give --force"
            raise RefusedError(f"refused: {one} and {other} differ in what is not compared ({said}); {remedy}")
        line = f"FORCED: {one} and {other} differ in {said}"
        if line not in self.forced:
            self.forced.append(line)

    def _drop_identical_rows(self) -> None:
        """Rows that are in two of the files, as shards that overlap have them, count once."""
        compare_by = [name for name in self._rows.columns if name not in ("path", "line", *(() if FILE in self.compared else (FILE,)))]
        suspects = np.flatnonzero(self._duplicated())
        again = self._rows.iloc[suspects].duplicated(subset=compare_by).to_numpy()
        if not again.any():
            return
        dropped = suspects[again]
        first = self._rows.iloc[dropped[0]]
        self._notes.append(f"{first['path']}:{first['line']}: the same row as an earlier one ({len(dropped)} such rows); counted once")
        self._live[dropped] = False

    def _duplicated(self) -> npt.NDArray[np.bool_]:
        """Rows of one arm, setting and object, all of them."""
        measurement = self._measurement()
        counts = np.bincount(measurement[self._live], minlength=len(measurement))
        twice: npt.NDArray[np.bool_] = (counts[measurement] > 1) & self._live
        return twice

    def _measurement(self) -> Positions:
        """The same number for rows that stand for the same measurement."""
        return _combined([self._arm_codes, *map(self._code, (*self._paired_by, *KEY))])

    def _tell_rows_apart(self) -> None:
        """Pair by further settings where rows of one object would otherwise stand for the same measurement.

        Raises:
            InputError: they do.
        """
        twice = self._duplicated()
        for name in _TELL_APART if twice.any() else ():
            taken = name in self._paired_by or name in self.compared or name in self._freed
            if not taken and len(set(self._rows.loc[twice, name])) > 1:
                self._paired_by.append(name)
                twice = self._duplicated()
        if twice.any() and FILE not in self.compared and self._rows.loc[twice, "device_name"].eq(UNKNOWN).all():
            self._paired_by.append(FILE)
            twice = self._duplicated()
        if not twice.any():
            return
        measurement = self._measurement()
        self._refuse_twice(self._rows[twice & (measurement == measurement[twice.argmax()])])

    @staticmethod
    def _refuse_twice(same: pd.DataFrame) -> None:
        """
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

    def _form_blocks(self) -> list[Block]:
        live = np.flatnonzero(self._live)
        numbers = _combined([np.zeros(len(self._rows), np.int64), *map(self._code, self._paired_by)])
        _, first, group = np.unique(numbers[live], return_index=True, return_inverse=True)
        group = group.reshape(-1)
        positions: dict[Setting, Positions] = {}
        for number in np.argsort(first):
            inside = live[group == number]
            positions[tuple(str(self._rows[name].iloc[inside[0]]) for name in self._paired_by)] = inside
        settings: list[Setting] = []
        for setting in sorted(positions, key=_vagueness):
            agreeing = [index for index, other in enumerate(settings) if _agree(setting, other)]
            if not agreeing:
                settings.append(setting)
            elif len(agreeing) == 1:
                settings[agreeing[0]] = _merged(settings[agreeing[0]], setting)
        order = {setting: index for index, setting in enumerate(positions)}
        settings.sort(key=lambda setting: min(order[other] for other in positions if _agree(setting, other)))
        blocks = []
        for setting in settings:
            inside = np.sort(np.concatenate([rows for other, rows in positions.items() if _agree(setting, other)]))
            arms = {arm: inside[self._arm_of_row[inside] == arm] for arm in self._arms}
            blocks.append(Block(dict(zip(self._paired_by, setting, strict=True)), {arm: rows for arm, rows in arms.items() if rows.size}))
        return blocks


def _codes_of(values: npt.NDArray[np.object_]) -> Positions:
    """A number for each distinct value, from 0 in the order they come."""
    return pd.factorize(values, use_na_sentinel=False)[0].astype(np.int64)


def _combined(columns: Sequence[Positions]) -> Positions:
    """A number for each distinct combination of numbers."""
    codes = columns[0]
    for column in columns[1:]:
        codes = pd.factorize(codes * (int(column.max()) + 1) + column)[0].astype(np.int64)
    return codes


def _concrete(values: Iterable[str]) -> set[str]:
    """What is told and applies."""
    return set(values) - {UNKNOWN, NOT_APPLICABLE}


def _vagueness(setting: Setting) -> int:
    return sum(value in (UNKNOWN, NOT_APPLICABLE) for value in setting)


def _agree(one: Setting, other: Setting) -> bool:
    return all(a == b or a in (UNKNOWN, NOT_APPLICABLE) or b in (UNKNOWN, NOT_APPLICABLE) for a, b in zip(one, other, strict=True))


def _merged(one: Setting, other: Setting) -> Setting:
    return tuple(b if a in (UNKNOWN, NOT_APPLICABLE) and b not in (UNKNOWN, NOT_APPLICABLE) else a for a, b in zip(one, other, strict=True))


def _values(values: set[str]) -> str:
    return ", ".join(value[:12] for value in sorted(values))


def _listing(blocks: Sequence[Block]) -> str:
    shown = [(", ".join(block.arms), " ".join(v for v in block.setting.values() if v not in (NOT_APPLICABLE, UNKNOWN))) for block in blocks]
    return "; ".join(f"{arms}: {setting}" for arms, setting in shown[:6])
