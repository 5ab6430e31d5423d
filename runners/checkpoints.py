"""Reads weights files of any common form without running code from them; no other module opens one.

Accepts `torch.save` and safetensors files that hold the requested model's state dict:

    {name: tensor}                              the state dict itself, as SAM v1 is published
    {"model": {name: tensor}, ...}              as SAM 2 and EdgeTAM are published, and what their trainers write
    {"state_dict": ...}, {"model_state_dict": ...}   as Lightning and others write it

Other contents, such as an optimizer or a step count, are ignored. All names may share a wrapper's prefix (`WRAPPERS`). Numbers may be of
any real floating type and are converted to the model's. `notes` lists every change. All names and shapes must match the model
(`load_strictly`).

A file with objects of other classes is rejected, since reading it would run code from it; torch's `weights_only` stays on. The exception is
`argparse.Namespace`, in which trainers keep their arguments: making one only stores values.
"""

from __future__ import annotations

import argparse
import os
import re
import struct
import time
import zipfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import torch

from runners.base import RunnerError
from runners.digest import sha256_of
from runners.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

NESTED = ("model", "state_dict", "model_state_dict")
"""Keys under which a file may nest its state dict; the first that holds one is used."""
WRAPPERS = ("module.", "_orig_mod.", "model.")
"""Prefixes that DataParallel, torch.compile and Lightning add to every name."""
OF_TRANSFORMERS = ("vision_encoder.", "detector_model.", "tracker_model.")
"""How names begin in files of the package transformers and in no official file."""
SAVE = 'save the weights alone where it was made: torch.save({"model": model.state_dict()}, FILE)'
FETCH = "if it was published, fetch it again with scripts/download_weights.sh; if it is your own, save it again"
OTHER_FILES = (
    (b"version https://git-lfs", "a pointer of Git LFS and not the file itself; run `git lfs pull` where it comes from"),
    (b"<!doctype", f"a web page, as a download leaves it that met a login or an error; {FETCH}"),
    (b"<html", f"a web page, as a download leaves it that met a login or an error; {FETCH}"),
    (b"<?xml", f"an XML document, as a download leaves it that met an error; {FETCH}"),
    (b"\x1f\x8b", "compressed with gzip; unpack it"),
    (b"ustar", "a tar archive; unpack it"),
    (b"\x08\x07\x12", "an ONNX model, it seems; give the checkpoint that it was exported from"),
)
"""First bytes, in lower case, of other files often saved under a checkpoint's name, and what to do."""

_BLOCKED = re.compile(r"GLOBAL ([\w.]+)")
"""How torch's error names a class it refuses to construct."""
_RECENT_NS = 10_000_000_000
_SAFETENSORS_HEADER_LIMIT = 100_000_000
"""Limit of the safetensors format, in bytes."""


@dataclass(frozen=True)
class Checkpoint:
    """Weights read from a file."""

    path: Path
    state: dict[str, torch.Tensor]
    """Dense tensors in host memory, under the names of the model."""
    sha256: str
    """sha256 of the loaded bytes, in hex."""
    notes: tuple[str, ...]
    """What was removed or converted, as text."""


def read_checkpoint(path: Path, wanted: Callable[[str], bool] | None = None) -> Checkpoint:
    """Read a weights file.

    Args:
        wanted: says of a name whether to read its tensor from a file of safetensors, which may hold other models too; None: all.

    Raises:
        RunnerError: the file is missing, damaged, or in none of the forms above; the message says which and what to do.
    """
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            sha256 = sha256_of(file)
            content = _content(path, file, before.st_size, wanted)
            after = os.fstat(file.fileno())
            # The kernel sets the change time (ctime), while programs that copy files can set the modification time. It advances in steps
            # of a few milliseconds, so it cannot show a second change within one step.
            is_touched = (before.st_size, before.st_ctime_ns) != (after.st_size, after.st_ctime_ns)
            is_touched |= time.time_ns() - after.st_ctime_ns < _RECENT_NS
            if is_touched and sha256_of(file) != sha256:
                raise RunnerError(f"{path}: was written while it was read; wait until it is complete and run the same command again")
    except FileNotFoundError as error:
        raise RunnerError(f"{path}: no such file; fetch it with scripts/download_weights.sh, or give --random_weights") from error
    except OSError as error:
        raise RunnerError(f"{path}: cannot be read ({error.strerror or error}); check its permissions and the disk") from error
    state, notes = _state_dict(path, content)
    return Checkpoint(path, state, sha256, notes)


def load_strictly(model: torch.nn.Module, checkpoint: Checkpoint) -> None:
    """Load a checkpoint; every name must be used and every parameter filled.

    Raises:
        RunnerError: names are missing or unexpected, or tensors have another shape or kind of number; the message lists them.
    """
    own, state = model.state_dict(), checkpoint.state
    if any(key.startswith(OF_TRANSFORMERS) for key in state) and not any(key.startswith(OF_TRANSFORMERS) for key in own):
        raise RunnerError(f"{checkpoint.path}: the names are transformers'; run it with --implementation transformers")
    faults = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [key for key in own if key in state and own[key].shape != state[key].shape],
        "of another type": [key for key in own if key in state and not same_kind(own[key], state[key])],
    }
    refuse_misfits(faults, checkpoint.path)
    model.load_state_dict(state)


def same_kind(own: torch.Tensor, given: torch.Tensor) -> bool:
    """Whether both hold the same kind of number, so that one can be stored as the other: floating point, complex or integer."""
    return bool(own.is_floating_point() == given.is_floating_point() and own.is_complex() == given.is_complex())


def refuse_misfits(faults: Mapping[str, Sequence[str]], path: Path) -> None:
    """
    Args:
        faults: names of the tensors concerned, by kind of fault.

    Raises:
        RunnerError: there is any fault.
    """
    shown = {what: ", ".join(map(one_line, keys[:5])) + ", ..." * (len(keys) > 5) for what, keys in faults.items() if keys}
    found = [f"{len(faults[what])} {what}: {names}" for what, names in shown.items()]
    if found:
        raise RunnerError(f"{path}: the weights do not fit the model ({'; '.join(found)}); is it the file of another model or version?")


def _content(path: Path, file: IO[bytes], size: int, wanted: Callable[[str], bool] | None) -> Any:
    """The file's content as Python objects and tensors."""
    head = file.read(512)
    file.seek(0)
    if not size:
        raise RunnerError(f"{path}: is empty; {FETCH}")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for beginning, what in OTHER_FILES:
        if start.startswith(beginning) or (beginning == b"ustar" and head[257:262] == beginning):
            raise RunnerError(f"{path}: is {what}")
    if _is_safetensors(head, size):
        return _safetensors(path, file, wanted)
    if _is_torchscript(file):  # older torch releases would run it
        raise RunnerError(f"{path}: is a TorchScript archive, a model without its classes; {SAVE}")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    # Unpickling damaged bytes may raise anything: KeyError, IndexError, TypeError, AssertionError and struct.error have occurred.
    except Exception as error:
        raise RunnerError(_unreadable(path, str(error), type(error).__name__)) from error


def _unreadable(path: Path, reason: str, kind: str) -> str:
    """Message for a file that torch cannot load, without torch's advice to switch `weights_only` off."""
    said = one_line(next(iter(reason.partition("WeightsUnpickler error:")[2].strip().splitlines() or reason.splitlines()), kind))
    if blocked := _BLOCKED.search(said):
        return f"{path}: holds an object of {blocked[1]} beside its weights, and reading that would run code from the file; {SAVE}"
    return f"{path}: cannot be read as a checkpoint, it is damaged or something else ({said[:120]}); {FETCH}"


def _is_torchscript(file: IO[bytes]) -> bool:
    """Whether the file is a TorchScript archive, the only kind with a file of constants. Rewinds the file."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, struct.error):  # seen on damaged files
        return False
    finally:
        file.seek(0)


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= min(size - 8, _SAFETENSORS_HEADER_LIMIT)


def _safetensors(path: Path, file: IO[bytes], wanted: Callable[[str], bool] | None) -> Any:
    try:
        import safetensors
    except ImportError as error:
        raise RunnerError(f"{path}: is a file of safetensors, which needs its package; run pip install safetensors") from error
    try:
        # opens the same file again, even if another has its name by now, and maps it: nothing is in memory but the copies
        with safetensors.safe_open(f"/proc/self/fd/{file.fileno()}", framework="pt") as mapped:
            names = mapped.keys()
            return {name: mapped.get_tensor(name).clone() for name in names if wanted is None or wanted(name)}
    # The package raises its own error, and KeyError and others for types unknown to torch.
    except Exception as error:
        raise RunnerError(f"{path}: is a damaged file of safetensors ({one_line(str(error))[:200]}); {FETCH}") from error


def _state_dict(path: Path, content: Any) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    notes = []
    state = content
    if isinstance(content, dict) and not _is_state_dict(content):
        key = next((key for key in NESTED if _is_state_dict(content.get(key))), None)
        state = None if key is None else content[key]
        if key not in (None, NESTED[0]):
            notes.append(f"weights taken from {key!r} of their file")
    if not _is_state_dict(state):
        raise RunnerError(
            f"{path}: holds no state dict, a dict of tensors by name, neither itself nor under {', '.join(map(repr, NESTED))}; it holds "
            f"{_what(content)}; {SAVE}"
        )
    not_dense = [key for key, value in state.items() if value.layout != torch.strided or value.is_meta or value.is_quantized]
    if not_dense:
        raise RunnerError(f"{path}: {one_line(not_dense[0])} is sparse, quantized or without numbers; save the weights as ordinary tensors")
    taken_off = ""
    while wrapper := next((name for name in WRAPPERS if all(key.startswith(name) for key in state)), None):
        state = {key.removeprefix(wrapper): value for key, value in state.items()}
        taken_off += wrapper
    if taken_off:
        notes.append(f"{taken_off!r} taken off the names of the weights")
    types = {str(value.dtype).removeprefix("torch.") for value in state.values() if value.is_floating_point()} - {"float32"}
    if types:
        notes.append(f"weights stored as {' and '.join(sorted(types))}")
    return dict(state), tuple(notes)


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(item, torch.Tensor) for key, item in value.items())
    )


def _what(content: Any) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    keys = [one_line(str(key))[:40] for key in content]
    return f"a dict of {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}" if keys else "an empty dict"
