"""Sums up why objects are not compared."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from savbench.compare.findings import Unpaired

_FIGURE = re.compile(r"(?<=\()\d+(?:\.\d+)?(?= |%)")
_OF_EACH = re.compile(r"(.+) in [^,]+, (.+) in [^,]+")
"""A figure within a reason, and a reason that names each of two arms: `invalid (swap (1.5 MiB)) in a, invalid (swap (2.0 MiB)) in b`."""


def by_cause(found: Iterable[Unpaired]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Put reasons together that differ in their figures only.

    Yields:
        Each cause with the range of its figures, `invalid (background load (0.7 to 1.1 CPUs)) in both`, and its objects.
    """
    causes: dict[str, tuple[list[list[str]], list[str]]] = {}
    for one in found:
        of_each = _OF_EACH.fullmatch(one.reason)
        both = of_each is not None and _FIGURE.sub("", of_each[1]) == _FIGURE.sub("", of_each[2])
        told = [f"{of_each[1]} in both", f"{of_each[2]} in both"] if of_each is not None and both else [one.reason]
        figures, names = causes.setdefault(_FIGURE.sub("\0", told[0]), ([], []))
        figures += [_FIGURE.findall(text) for text in told]
        names += one.objects
    for cause, (figures, names) in causes.items():
        ends = [(min(values, key=float), max(values, key=float)) for values in zip(*figures, strict=True)]
        ranges = iter([low if low == high else f"{low} to {high}" for low, high in ends])
        said = "".join(next(ranges) if part == "\0" else part for part in re.split("(\0)", cause))
        yield said, tuple(names)
