"""Probe of torch, its GPU, and extensions compiled against it. Runs in its own process, which may crash.

It runs kernels on the GPU rather than only describing it: only a kernel that ran proves that a build matches the GPU.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Any

from savbench.doctor.probe import Steps, one_line, probe_parser

GPU = "cuda"


def main(argv: list[str] | None = None) -> int:
    parser = probe_parser()
    parser.add_argument("--sam2_dir", type=Path)
    parser.add_argument("--edgetam_extension", type=Path, help="compiled _C of the EdgeTAM checkout")
    args = parser.parse_args(argv)
    steps = Steps(args.answers)
    if steps.run("torch", _torch) is None:
        return 0
    import torch

    steps.run("numpy", lambda: _numpy(torch))
    cuda = steps.run("cuda", lambda: _cuda(torch))
    on_gpu = cuda is not None and cuda["available"]
    steps.run("cudnn", lambda: _cudnn(torch))
    steps.run("flash", lambda: _flash(torch))
    if on_gpu:
        steps.run("devices", lambda: _devices(torch))
        steps.run("kernel_ran", lambda: _run_kernel(torch, GPU))
        steps.run("matmul_ran", lambda: _run_matmul(torch, GPU))
        steps.run("cudnn_ran", lambda: _run_convolution(torch, GPU))
        steps.run("flash_ran", lambda: _run_flash(torch, GPU))
    steps.run("torchvision", _torchvision)
    if args.sam2_dir is not None:
        sys.path.insert(0, str(args.sam2_dir))
    if steps.run("sam2", _sam2) is not None and importlib.util.find_spec("sam2._C") is not None:
        _extension(steps, torch, "sam2_extension", functools.partial(importlib.import_module, "sam2._C"), on_gpu=on_gpu)
    if args.edgetam_extension is not None:
        # Loaded by path, because its package has the same name as SAM 2's.
        load = functools.partial(_load_file, args.edgetam_extension)
        _extension(steps, torch, "edgetam_extension", load, on_gpu=on_gpu)
    return 0


def _torch() -> dict[str, Any]:
    import torch

    return {
        "version": str(torch.__version__),
        "cuda": torch.version.cuda,
        "file": torch.__file__,
        "archs": list(torch.cuda.get_arch_list()),
    }


def _numpy(torch: Any) -> dict[str, Any]:
    import numpy as np

    there_and_back = torch.from_numpy(np.arange(3, dtype=np.float32)).numpy()
    return {"version": np.__version__, "exchanged": bool(there_and_back.tolist() == [0.0, 1.0, 2.0])}


def _cuda(torch: Any) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = bool(torch.cuda.is_available())
    # If torch answers False, it gives the reason in a warning (for example an old driver), or only when CUDA is started.
    reasons = [one_line(str(warning.message)) for warning in caught]
    if not available and torch.version.cuda is not None and not reasons:
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as error:
            reasons = [one_line(str(error))]
    return {"available": available, "reason": "" if available or not reasons else reasons[0]}


def _devices(torch: Any) -> dict[str, Any]:
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(
            {
                "name": properties.name,
                "capability": [properties.major, properties.minor],
                "memory_mib": round(properties.total_memory / 2**20),
            }
        )
    return {"devices": found}


def _cudnn(torch: Any) -> dict[str, Any]:
    cudnn = torch.backends.cudnn
    return {"version": cudnn.version() if cudnn.is_available() else None}


def _flash(torch: Any) -> dict[str, Any]:
    # Missing before torch 2.5, where only a call can show it.
    built = getattr(torch.backends.cuda, "is_flash_attention_available", None)
    return {"built": None if built is None else bool(built())}


def _run_kernel(torch: Any, device: str) -> dict[str, Any]:
    return {"right": float((torch.arange(4.0, device=device) + 1).sum().item()) == 10.0}


def _run_matmul(torch: Any, device: str) -> dict[str, Any]:
    ones = torch.ones(64, 64, device=device, dtype=torch.float16)
    return {"right": float((ones @ ones)[0, 0].item()) == 64.0}


def _run_convolution(torch: Any, device: str) -> dict[str, Any]:
    image, weight = torch.ones(1, 4, 8, 8, device=device), torch.ones(4, 4, 3, 3, device=device)
    # 4 channels of 9 pixels, away from the border
    return {"right": abs(float(torch.nn.functional.conv2d(image, weight, padding=1)[0, 0, 4, 4].item()) - 36.0) < 0.5}


def _run_flash(torch: Any, device: str) -> dict[str, Any]:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    query = torch.ones(1, 1, 64, 64, device=device, dtype=torch.float16)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):
        out = torch.nn.functional.scaled_dot_product_attention(query, query, query)
    return {"right": float(out[0, 0, 0, 0].item()) == 1.0}


def _torchvision() -> dict[str, Any]:
    import torchvision

    return {"version": str(torchvision.__version__)}


def _sam2() -> dict[str, Any]:
    import sam2.build_sam

    return {"file": str(sam2.__file__)}


def _load_file(path: Path) -> Any:
    # The file's init function is named after the last part of the module name.
    spec = importlib.util.spec_from_file_location("edgetam._C", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not an extension module for this Python")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _extension(steps: Steps, torch: Any, name: str, load: Any, *, on_gpu: bool) -> None:
    """Load a compiled `_C` and, on a GPU, let it label a known mask."""
    modules: list[Any] = []

    def loaded() -> dict[str, Any]:
        modules.append(load())
        return {"file": str(modules[0].__file__)}

    if steps.run(name, loaded) is not None and on_gpu:
        from runners.components import labels_correctly

        label = modules[0].get_connected_componnets
        steps.run(f"{name}_ran", lambda: {"right": labels_correctly(label, torch.device(GPU))})


if __name__ == "__main__":
    sys.exit(main())
