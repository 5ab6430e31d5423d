"""The boards as they are sold, one table for all tests: names and numbers that the kernel, jtop and torch show on them.

No board was at hand. Where a number comes from:

- device tree, release line, Python and CUDA: reports of the boards to rbonghi/jetson_stats (issues 603, 711, 863, 864, 885) and the tables
  in its jtop/core/jetson_variables.py (7.2.2).
- INA3221 monitors: Linux' arch/arm64/boot/dts/nvidia/tegra234-p3701.dtsi and tegra234-p3767.dtsi. Voltages and currents of AGX Orin: read
  on one (12,008 mV in, both VIN_SYS_5V0 and VDDQ_VDD2_1V8AO at 4,968 mV).
- INA238 of Thor: rbonghi/jetson_stats pull request 900 and Linux' Documentation/hwmon/ina238.rst. Clocks of Thor: `jetson_clocks --show`
  on one (gpu-gpc-0, gpu-nvd-0, EMC); zones and rails: its tegrastats.
- power modes: /etc/nvpmodel.conf of the boards, and NVIDIA's Jetson Linux Developer Guide, "Supported Modes and Power Efficiency".
- GPU clock limits: NVIDIA's Jetson Linux Developer Guide, the fastest mode of each module. Lower limits: as after boot.

How many CPU clock policies Thor has is not known here; one stands for all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Rail:
    """One channel of an INA3221, with what it reads at light load."""

    label: str
    monitor: str
    """The I2C device, bus and address: `1-0040`."""
    channel: int
    mv: int
    ma: int

    @property
    def mw(self) -> float:
        return self.mv * self.ma / 1000


@dataclass(frozen=True)
class InputMonitor:
    """An INA238 at the input of the carrier board."""

    device: str
    label: str
    mv: int
    ma: int

    @property
    def uw(self) -> int:
        return self.mv * self.ma


@dataclass(frozen=True)
class Clock:
    """A device of /sys/class/devfreq, in Hz."""

    name: str
    low: int
    high: int
    of_node: str | None
    """Name in the device tree; None for a device on PCI."""
    has_load: bool
    """Whether the driver shows `device/load`."""


@dataclass(frozen=True)
class JetPack:
    version: str
    l4t: str
    release: str
    """First line of /etc/nv_tegra_release."""
    ubuntu: str
    kernel: str
    python: str
    cuda: str
    is_externally_managed: bool
    """Whether the system's Python refuses pip (PEP 668), as from Ubuntu 24.04 on."""


@dataclass(frozen=True)
class Board:
    name: str
    model: str
    compatible: tuple[str, ...]
    jetpack: JetPack
    device: str
    """Name of the GPU as torch has it."""
    capability: tuple[int, int]
    memory_kb: int
    modes: dict[int, str]
    """Power modes by number."""
    fastest_mode: int
    rails: tuple[Rail, ...]
    gpu: tuple[Clock, ...]
    """All clocks of the GPU, the one that computes first."""
    cpu_khz: tuple[int, int]
    cpu_policies: tuple[int, ...]
    zones: tuple[str, ...]
    """Types of the thermal zones. CV0 of an Orin is powered down, as is an idle GPU of Thor: their sensors do not answer."""
    emc_hz: tuple[int, int, int]
    """Memory clock: lowest, now, highest."""
    emc_in_devfreq: bool = False
    """Shown as /sys/class/devfreq/bwmgr, else by the BPMP in debugfs."""
    input_monitor: InputMonitor | None = None

    @property
    def id(self) -> str:
        return f"{self.name}-jp{self.jetpack.version}"


JP62 = JetPack(
    version="6.2",
    l4t="36.4.3",
    release="# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025",
    ubuntu="22.04",
    kernel="5.15.148-tegra",
    python="3.10.12",
    cuda="12.6",
    is_externally_managed=False,
)
JP70 = JetPack(
    version="7.0",
    l4t="38.2.0",
    release="# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64, DATE: Fri Aug 22 00:55:42 UTC 2025",
    ubuntu="24.04",
    kernel="6.8.12-tegra",
    python="3.12.3",
    cuda="13.0",
    is_externally_managed=True,
)
JP72 = JetPack(
    version="7.2",
    l4t="39.2.0",
    release="# R39 (release), REVISION: 2.0, GCID: 45755727, BOARD: generic, EABI: aarch64, DATE: Mon Jun  1 09:28:48 PM UTC 2026",
    ubuntu="24.04",
    kernel="6.8.12-1021-tegra",
    python="3.12.3",
    cuda="13.2",
    is_externally_managed=True,
)

ORIN_ZONES = ("cpu-thermal", "gpu-thermal", "cv0-thermal", "soc0-thermal", "tj-thermal")
ORIN_EMC_HZ = (204_000_000, 2_133_000_000, 3_199_000_000)


def _orin_gpu(high: int) -> tuple[Clock, ...]:
    return (Clock("17000000.gpu", 306_000_000, high, "gpu", has_load=True),)


def _module_rails(vdd_in_ma: int, cpu_gpu_cv_ma: int, soc_ma: int) -> tuple[Rail, ...]:
    """Of Orin Nano and Orin NX: the module's input and two of the rails that it feeds."""
    return (
        Rail("VDD_IN", "1-0040", 1, 5_000, vdd_in_ma),
        Rail("VDD_CPU_GPU_CV", "1-0040", 2, 5_000, cpu_gpu_cv_ma),
        Rail("VDD_SOC", "1-0040", 3, 5_000, soc_ma),
    )


ORIN_NANO = Board(
    name="orin-nano",
    jetpack=JP62,
    model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    compatible=("nvidia,p3768-0000+p3767-0005-super", "nvidia,p3767-0005", "nvidia,tegra234"),
    device="Orin",
    capability=(8, 7),
    memory_kb=7_802_052,
    modes={0: "15W", 1: "25W", 2: "MAXN_SUPER", 3: "7W"},
    fastest_mode=2,
    rails=_module_rails(1_100, 280, 300),
    gpu=_orin_gpu(1_020_000_000),
    cpu_khz=(729_600, 1_728_000),
    cpu_policies=(0, 4),
    zones=ORIN_ZONES,
    emc_hz=ORIN_EMC_HZ,
)
ORIN_NX = replace(
    ORIN_NANO,
    name="orin-nx",
    model="NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super",
    compatible=("nvidia,p3768-0000+p3767-0000-super", "nvidia,p3767-0000", "nvidia,tegra234"),
    memory_kb=16_040_000,
    modes={0: "MAXN_SUPER", 1: "10W", 2: "15W", 3: "25W", 4: "40W"},
    fastest_mode=0,
    rails=_module_rails(1_300, 400, 350),
    gpu=_orin_gpu(1_173_000_000),
    cpu_khz=(729_600, 1_984_000),
)
AGX_ORIN = replace(
    ORIN_NANO,
    name="agx-orin",
    model="NVIDIA Jetson AGX Orin Developer Kit",
    compatible=("nvidia,p3737-0000+p3701-0005", "nvidia,p3701-0005", "nvidia,tegra234"),
    memory_kb=64_286_720,
    modes={0: "MAXN", 1: "MODE_15W", 2: "MODE_30W", 3: "MODE_50W"},
    fastest_mode=0,
    rails=(
        Rail("VDD_GPU_SOC", "1-0040", 1, 12_008, 280),
        Rail("VDD_CPU_CV", "1-0040", 2, 12_008, 40),
        Rail("VIN_SYS_5V0", "1-0040", 3, 4_968, 980),
        Rail("VDDQ_VDD2_1V8AO", "1-0041", 2, 4_968, 80),
    ),
    gpu=_orin_gpu(1_300_500_000),
    cpu_khz=(729_600, 2_201_600),
    cpu_policies=(0, 4, 8),
)
AGX_THOR = Board(
    name="agx-thor",
    jetpack=JP70,
    model="NVIDIA Jetson AGX Thor Developer Kit",
    compatible=("nvidia,p4071-0000+p3834-0008", "nvidia,p3834-0008", "nvidia,tegra264"),
    device="NVIDIA Thor",
    capability=(11, 0),
    memory_kb=128_806_000,
    modes={0: "MAXN", 1: "120W", 2: "90W", 3: "70W"},
    fastest_mode=0,
    rails=(
        Rail("VDD_GPU", "2-0040", 1, 12_000, 430),
        Rail("VDD_CPU_SOC_MSS", "2-0040", 2, 12_000, 495),
        Rail("VIN_SYS_5V0", "2-0040", 3, 5_000, 988),
    ),
    input_monitor=InputMonitor("2-0044", "VIN", 20_000, 1_150),
    gpu=(
        Clock("gpu-gpc-0", 315_000_000, 1_575_000_000, None, has_load=False),
        Clock("gpu-nvd-0", 315_000_000, 1_692_000_000, None, has_load=False),
    ),
    cpu_khz=(972_000, 2_601_000),
    cpu_policies=(0,),
    zones=("cpu-thermal", "gpu-thermal", "soc012-thermal", "soc345-thermal", "tj-thermal"),
    emc_hz=(665_600_000, 4_266_000_000, 4_266_000_000),
    emc_in_devfreq=True,
)

BOARDS: dict[str, Board] = {
    board.id: board
    for board in (
        *(replace(board, jetpack=jetpack) for board in (ORIN_NANO, ORIN_NX, AGX_ORIN) for jetpack in (JP62, JP72)),
        *(replace(AGX_THOR, jetpack=jetpack) for jetpack in (JP70, JP72)),
    )
}
"""Every board on every JetPack, by id: `orin-nano-jp6.2`. For `pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)`."""
