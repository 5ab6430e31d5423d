"""The order of tests among the processes of pytest-xdist, which gives each a run of equally many (`--dist worksteal`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from itertools import chain, groupby
from typing import TypeVar

Test = TypeVar("Test")


def deal(tests: Sequence[Test], module_of: Callable[[Test], Hashable], is_slow: Callable[[Test], bool], processes: int) -> list[Test]:
    """The tests, modules with a slow one dealt out in turn so that each process begins with its share of them.

    What is left at the end is short: no process waits for another's long test, and a process that has nothing left takes over tests of
    modules whose fixtures cost little to make twice. Tests of a module with a slow one stay together.
    """
    modules = [list(module) for _, module in groupby(tests, module_of)]
    slow = [module for module in modules if any(map(is_slow, module))]
    short = deque(chain.from_iterable(module for module in modules if not any(map(is_slow, module))))
    dealt: list[Test] = []
    for process in range(processes):
        dealt += chain.from_iterable(slow[process::processes])
        while short and len(dealt) < len(tests) * (process + 1) // processes:
            dealt.append(short.popleft())
    return dealt
