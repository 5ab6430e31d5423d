"""A source whose total power is multiplied by a calibration factor."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from savbench.board.power.base import Reading, Sampler, Scope


class ScaledSampler:
    """Reads another source and multiplies the total; rails stay as they were read."""

    def __init__(self, sampler: Sampler, factor: float) -> None:
        self.name = sampler.name
        self.interval_s = sampler.interval_s
        self.scope: Scope = sampler.scope
        self._sampler = sampler
        self._factor = factor

    def read(self) -> list[Reading]:
        """
        Raises:
            PowerError: the source has failed for good.
        """
        return [
            reading if reading.total_mw is None else replace(reading, total_mw=reading.total_mw * self._factor)
            for reading in self._sampler.read()
        ]

    def close(self) -> None:
        self._sampler.close()
