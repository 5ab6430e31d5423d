"""Every setting of a run, declared once: to add a flag, add a field here or in a class that `RunConfig` extends, and use it.

`savbench.arguments.declared` says what is derived from a field.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.exported import TORCH
from savbench.arguments.compound import AllOrWorst, Factor
from savbench.arguments.declared import ConfigError, check, from_json, setting, to_json
from savbench.arguments.keyframe import EVERY_FRAME
from savbench.arguments.values import Choice, ChoiceOrFile, FilePath, Real, Switch, Text, Whole
from savbench.plan.settings_data import DataSettings
from savbench.plan.settings_measuring import MeasuringSettings
from savbench.plan.settings_models import SELECTIONS, ModelSettings

POWER_SOURCES = ("auto", "jtop", "sysfs", "nvml", "none")
METER = "csv"
"""Prefix of --power for the file of an external meter."""
WHERE = "where it runs"
BOARD = "power and heat"
OUTPUT = "output"


@dataclass(frozen=True)
class RunConfig(MeasuringSettings, ModelSettings, DataSettings):
    """All settings of a run. Sizes in pixels, times in seconds, temperatures in C, memory in MiB.

    The fields of the last base class come first.
    """

    plan: str | None = setting(
        Choice(("estimate", "measure")),
        WHERE,
        "print arms, objects, frames, hours and disk of the run, and stop; measure: first track one object per arm, whose rows are kept",
        default=None,
        bare="estimate",
        identifies_run=False,
    )
    executor: str = setting(
        Choice(("local", "ray")),
        WHERE,
        "local: worker processes on this machine, one at a time; ray: videos as tasks on a Ray cluster, one GPU each",
        default="local",
    )
    ray_address: str | None = setting(
        Text("ADDRESS"),
        WHERE,
        "HOST:PORT or auto",
        default=None,
        default_text="RAY_ADDRESS, the cluster on this machine, or a new one",
        identifies_run=False,
    )
    cpus_per_task: int = setting(Whole(1, 4_096), WHERE, "with ray: CPUs, and torch threads, per task", default=1)

    power: str = setting(
        ChoiceOrFile(POWER_SOURCES, prefix=METER),
        BOARD,
        "auto, jtop (jetson-stats), sysfs (the kernel's power monitors), nvml (desktop GPUs), none, or the growing file of an external "
        "meter with columns time and watts",
        default="auto",
        default_text="auto: the first that answers",
        identifies_run=False,
    )
    power_interval_s: float = setting(
        Real(0.01, 60, unit="seconds", name="S"),
        BOARD,
        "seconds between readings",
        default=0.1,
        flag="power_interval",
        identifies_run=False,
    )
    power_scale: tuple[float, float | None] | None = setting(
        Factor(0.2, 5),
        BOARD,
        "multiply the total power by FACTOR, from a calibration against a meter (docs/power.md)",
        default=None,
    )
    strict: bool = setting(Switch(), BOARD, "accept only rows whose validity is ok: wait, try again, refuse in the end", default=False)
    cooldown_c: float = setting(
        Real(-40, 100, unit="degrees Celsius", name="C"),
        BOARD,
        "with --strict and --sustained: wait until the board is this cool",
        default=50.0,
    )

    out_dir: Path | None = setting(
        FilePath(),
        OUTPUT,
        "folder of the run; an earlier run in it is resumed",
        default=None,
        default_text="results/<time>",
        identifies_run=False,
        common=True,
    )
    retry_failed: bool = setting(Switch(), OUTPUT, "rerun objects whose row is not ok", default=False, identifies_run=False)
    accept_changes: bool = setting(
        Switch(),
        OUTPUT,
        "resume a run whose rows were measured on another system (torch, device, power mode, weights); new rows are marked as different",
        default=False,
        identifies_run=False,
    )
    save_overlays: str | None = setting(
        AllOrWorst(10_000),
        OUTPUT,
        "write a video of objects with prediction, ground truth and errors: all, or worst:N for those with the lowest J&F of each arm",
        default=None,
        default_text="none",
        bare=AllOrWorst.ALL,
    )
    save_masks: bool = setting(
        Switch(), OUTPUT, "write predicted masks in the data set's layout, for its official evaluator or server", default=False, common=True
    )

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: a setting is out of range, or two settings exclude each other.
        """
        check(self)
        if self.memory == "upstream" and self.realtime_fps is not None:
            raise ConfigError("--memory upstream: loads all frames before tracking, which a camera cannot deliver; use --memory bounded")
        if self.memory == "upstream" and self.implementation == "transformers":
            raise ConfigError("--memory upstream: is what the official code does; leave out --implementation transformers")
        if self.memory == "upstream" and self.keyframes != (EVERY_FRAME,):
            raise ConfigError(
                "--memory upstream: prepares every frame for the model, also those that --keyframe skips; leave one of them out"
            )
        if self.compile != "off" and self.warmup_frames == 0:
            raise ConfigError("--warmup_frames 0: compilation would be timed; --compile needs at least 1")
        if self.compile_mode is not None and self.compile == "off":
            raise ConfigError(f"--compile_mode {self.compile_mode}: nothing is compiled; add --compile encoder or full")
        exported = next((runtime for runtime in self.runtime if runtime != TORCH), None)
        if exported is not None and self.implementation == "transformers":
            raise ConfigError(f"--runtime {exported}: exports the official code; leave out --implementation transformers")
        if self.memory_selection != SELECTIONS[0] and (exported is not None or self.implementation == "transformers"):
            raise ConfigError(
                f"--memory_selection {self.memory_selection}: is done around the official code; leave out --runtime and --implementation"
            )
        if exported is not None and self.compile != "off":
            raise ConfigError(f"--compile {self.compile}: --runtime {exported} runs no code that torch compiles; leave one of them out")
        if self.agreement is not None and (self.order == "interleaved" or self.share_prompts or self.executor != "local"):
            raise ConfigError(
                "--agreement needs its arm to run before the others; leave out --order interleaved, --share_prompts and --executor ray"
            )
        if self.order == "interleaved" and self.sustained_minutes is not None:
            raise ConfigError("--sustained heats the board with one arm at a time; leave out --order interleaved")
        if self.strict and self.sustained_minutes is not None:
            raise ConfigError("--sustained lets the board throttle and --strict rejects such rows; leave one of them out")
        if self.accept_changes and self.sustained_minutes is not None:
            raise ConfigError("--sustained measures only whole arms; leave out --accept_changes and give another --out_dir")
        if self.share_prompts and self.sustained_minutes is not None:
            raise ConfigError("--sustained runs one arm at a time; leave out --share_prompts")
        if self.plan == "measure" and self.sustained_minutes is not None:
            raise ConfigError("--plan measure: --sustained repeats an arm's objects for minutes; use --plan, or leave out --sustained")
        if self.strict and self.power == "none":
            raise ConfigError("--strict needs readings of the board; leave out --power none")
        if self.power_scale is not None and (self.power == "none" or self.power.startswith(f"{METER}:")):
            raise ConfigError(f"--power_scale calibrates the board's own monitors, which --power {self.power} does not read; leave it out")
        if self.realtime_fps is not None:
            if self.joint_objects or self.share_prompts:
                raise ConfigError("--realtime tracks one object at a time; leave out --joint_objects and --share_prompts")
        elif self.realtime_from is not None:
            raise ConfigError(f"--realtime_from {self.realtime_from}: works only with --realtime; add it")
        self._check_executor()

    def _check_executor(self) -> None:
        if self.executor == "local":
            if self.ray_address is not None or self.cpus_per_task != 1:
                raise ConfigError("--ray_address and --cpus_per_task need --executor ray; add it or leave them out")
            return
        if self.power not in ("auto", "none"):
            raise ConfigError(f"--power {self.power}: reads this machine, but --executor ray measures on others; leave it out")
        if ":" in self.device:
            raise ConfigError(f"--device {self.device}: Ray assigns a GPU to every task; use cuda")
        tied_to_a_board = {
            "strict": self.strict,
            "sustained": self.sustained_minutes is not None,
            "memory_budget": self.memory_budget is not None,
            "power_scale": self.power_scale is not None,
            "accept_changes": self.accept_changes,
            "order interleaved": self.order != "sequential",
        }
        for option in (option for option, given in tied_to_a_board.items() if given):
            raise ConfigError(
                f"--{option}: needs one board whose arms run one after the other, which --executor ray does not give; leave it out"
            )

    def to_json(self) -> dict[str, Any]:
        """All settings, for `from_json`."""
        return to_json(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RunConfig:
        """The inverse of `to_json`."""
        return from_json(cls, data)
