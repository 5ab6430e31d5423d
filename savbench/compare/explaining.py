"""Explain a difference between two arms: which attribute of the objects carries it, and which objects decide it.

Whether an attribute explains the differences is a permutation test. Its statistic is eta squared, the share of the differences' variance
that lies between the attribute's bins. Objects of one video are not independent, so that a permutation moves the differences of a whole
video to another video with as many compared objects, and shuffles them within it: under the hypothesis that the differences have nothing to
do with the attribute, each such rearrangement is as likely as what was observed (Phipson and Smyth, "Permutation P-values should never be
zero", SAGMB 2010, for the p value). Holm's method (Scandinavian Journal of Statistics, 1979) keeps the probability of naming any attribute
wrongly at 5% over all attributes together.

The objects that decide are those whose removal moves the mean most towards zero and beyond: for a mean, the most influential set is the
objects with the largest differences in its direction (Broderick, Giordano and Meager, arXiv 2011.14999).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from savbench.compare.findings import AttributeEffect, BinChange, Deciding, Explanation
from savbench.compare.statistics import FEWEST_RESAMPLES, MIN_VIDEOS, Floats, Ints, estimate
from savbench.results.attributes import BY_NAME, NOT_KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from savbench.results.attributes import Attribute

ALPHA = 0.05
"""Highest probability of naming any attribute if none explains the differences."""
MOST_PERMUTATIONS, FEWEST_PERMUTATIONS = 9_999, 1_999
DECIDING = 10
"""Objects that decide, at most."""
_WANTED_CELLS = 5_000_000
_CHUNK_CELLS = 2_000_000


def explain(
    differences_n: Floats,
    video_n: Ints,
    attributes: Mapping[str, Floats],
    labels: Sequence[str],
    *,
    resamples: int | None = None,
    permutations: int | None = None,
    seed: int = 0,
) -> Explanation:
    """Explain the mean difference over objects.

    Args:
        differences_n: (objects,), arm minus baseline, without NaN; at least one.
        video_n: (objects,), any distinct number per video.
        attributes: (objects,) each, by name; NaN where an object has no value.
        labels: names of the objects.
        resamples: draws of the bootstrap behind the intervals; None takes the usual number for the whole, the fewest for its parts.
        permutations: None takes `default_permutations`.
    """
    codes = {name: np.array([BY_NAME[name].bin_of(value) for value in values], np.int64) for name, values in attributes.items()}
    videos = len(np.unique(video_n))
    eta, by_chance, p_values = (np.full(len(codes), np.nan) for _ in range(3))
    wanted = permutations or default_permutations(differences_n.size)
    if videos >= MIN_VIDEOS and np.ptp(differences_n) > 0:
        in_bins = [_in_bins(BY_NAME[name], code_n) for name, code_n in codes.items()]
        eta, by_chance, p_values = permutation_test(differences_n, video_n, in_bins, wanted, seed)
    adjusted = holm(p_values)
    effects = tuple(
        AttributeEffect(
            attribute=name,
            bins=_bins(BY_NAME[name], codes[name], differences_n, video_n, resamples or FEWEST_RESAMPLES, seed),
            explained=_number(eta[index]),
            by_chance=_number(by_chance[index]),
            p=_number(adjusted[index]),
        )
        for index, name in enumerate(codes)
    )
    named = [effect for effect in effects if effect.p is not None and effect.p <= ALPHA]
    best = min(named, key=lambda effect: (effect.p or 0.0, -(effect.explained or 0.0))).attribute if named else ""
    mean = estimate(differences_n[:, None], video_n, resamples=resamples, seed=seed)
    return Explanation(
        change=float(mean.center[0]),
        low=_number(mean.low[0]),
        high=_number(mean.high[0]),
        objects=differences_n.size,
        videos=videos,
        effects=effects,
        best=best,
        permutations=wanted if any(effect.p is not None for effect in effects) else 0,
        deciding=tuple(_deciding(differences_n, video_n, labels, resamples or FEWEST_RESAMPLES, seed)),
    )


def default_permutations(objects: int) -> int:
    """The most up to 500 objects, falling to the fewest from 2,500 on."""
    return min(MOST_PERMUTATIONS, max(FEWEST_PERMUTATIONS, _WANTED_CELLS // objects))


def holm(p_values: Floats) -> Floats:
    """P values adjusted for their number by Holm's method; a NaN is no test and stays one."""
    adjusted = np.full(p_values.shape, np.nan)
    order = np.argsort(p_values)[: int((~np.isnan(p_values)).sum())]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    return adjusted


def permutation_test(values_n: Floats, video_n: Ints, codes: Sequence[Ints], permutations: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Eta squared, its mean over the permutations, and the p value of each attribute; NaN where all objects are in one bin.

    Args:
        values_n: (objects,), differences.
        codes: (objects,) for each attribute, the object's bin; negative: in none.
    """
    several = [index for index, code in enumerate(codes) if np.unique(code[code >= 0]).size > 1]
    eta, by_chance, p_values = (np.full(len(codes), np.nan) for _ in range(3))
    if not several:
        return eta, by_chance, p_values
    centred_n = values_n - values_n.mean()
    total = float((centred_n**2).sum())
    members, sizes, begins = [], [], [0]
    for index in several:
        code = codes[index]
        member_nb = (code[:, None] == np.unique(code[code >= 0])).astype(np.float64)
        members.append(member_nb)
        sizes.append(member_nb.sum(axis=0))
        begins.append(begins[-1] + member_nb.shape[1])
    member_nc, size_c = np.hstack(members), np.concatenate(sizes)

    known_a = np.add.reduceat(size_c, begins[:-1])

    def explained(rows_rn: Floats) -> Floats:
        """(rows, attributes)."""
        sum_rc = rows_rn @ member_nc
        between_ra = np.add.reduceat(sum_rc**2 / size_c, begins[:-1], axis=1)
        # the mean over the objects in bins is 0 only if every object is in one
        shares: Floats = (between_ra - np.add.reduceat(sum_rc, begins[:-1], axis=1) ** 2 / known_a) / total
        return shares

    observed = explained(centred_n[None])[0]
    as_large, summed = np.zeros(len(several)), np.zeros(len(several))
    for order_rn in _rearranged(video_n, permutations, seed):
        found = explained(centred_n[order_rn])
        summed += found.sum(axis=0)
        # sums in another order differ in their last bits
        as_large += (found >= observed * (1 - 1e-9)).sum(axis=0)
    eta[several], by_chance[several], p_values[several] = observed, summed / permutations, (as_large + 1) / (permutations + 1)
    return eta, by_chance, p_values


def _rearranged(video_n: Ints, permutations: int, seed: int) -> Iterator[Ints]:
    """Yield for each permutation which object's difference each object receives, (rows, objects), in chunks that fit memory."""
    rng = np.random.default_rng(seed)
    _, video_n, sizes = np.unique(video_n, return_inverse=True, return_counts=True)
    by_video = np.split(np.argsort(video_n.reshape(-1), kind="stable"), np.cumsum(sizes)[:-1])
    # (videos, objects) of the videos with as many objects
    strata = [np.array([of for of in by_video if of.size == size]) for size in np.unique(sizes)]
    step = max(1, _CHUNK_CELLS // video_n.size)
    for begin in range(0, permutations, step):
        rows = min(step, permutations - begin)
        order_rn = np.empty((rows, video_n.size), np.int64)
        for stratum_vk in strata:
            videos, objects = stratum_vk.shape
            to_rv = rng.permuted(np.tile(np.arange(videos), (rows, 1)), axis=1)
            moved_rvk = stratum_vk[to_rv]
            if objects > 1:
                moved_rvk = rng.permuted(moved_rvk, axis=2)
            order_rn[:, stratum_vk.reshape(-1)] = moved_rvk.reshape(rows, -1)
        yield order_rn


def _in_bins(attribute: Attribute, code_n: Ints) -> Ints:
    """Bins for the test: that of values that are not known is none, since what is not measured explains nothing."""
    return np.where((code_n == len(attribute.bins)) & (attribute.missing == NOT_KNOWN), -1, code_n)


def _bins(attribute: Attribute, code_n: Ints, differences_n: Floats, video_n: Ints, resamples: int, seed: int) -> tuple[BinChange, ...]:
    present = [number for number in range(len(attribute.labels)) if (code_n == number).any()]
    # one column per bin, NaN outside of it
    columns = np.where(code_n[:, None] == np.array(present), differences_n[:, None], np.nan)
    found = estimate(columns, video_n, resamples=resamples, seed=seed)
    total = float(differences_n.sum())
    carried = np.nansum(columns, axis=0)
    return tuple(
        BinChange(
            label=attribute.labels[number],
            objects=int(found.objects[index]),
            videos=int(found.videos[index]),
            change=float(found.center[index]),
            low=_number(found.low[index]),
            high=_number(found.high[index]),
            carries=float(carried[index]) / differences_n.size,
            share=float(carried[index]) / total if total else None,
        )
        for index, number in enumerate(present)
    )


def _deciding(differences_n: Floats, video_n: Ints, labels: Sequence[str], resamples: int, seed: int) -> Iterator[Deciding]:
    """The objects that decide, the most influential first, each with what is left without it and those before it."""
    direction = 1.0 if differences_n.mean() >= 0 else -1.0
    # equal ones in the order of their names
    order = sorted(range(differences_n.size), key=lambda place: (-direction * differences_n[place], labels[place]))
    kept = np.ones(differences_n.size, np.bool_)
    for place in order[: min(DECIDING, differences_n.size - 1)]:
        if direction * differences_n[place] <= 0:
            return
        kept[place] = False
        left = estimate(differences_n[kept][:, None], video_n[kept], resamples=resamples, seed=seed)
        yield Deciding(labels[place], float(differences_n[place]), float(left.center[0]), _number(left.low[0]), _number(left.high[0]))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
