"""Weights files as people have them, and files that only bear a checkpoint's name."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import pickle
import random
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from runners import checkpoints  # noqa: E402
from runners.base import RunnerError  # noqa: E402
from runners.checkpoints import load_strictly, read_checkpoint  # noqa: E402

STATE = {"block.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "block.bias": torch.tensor([0.5, -0.25])}


class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.block = torch.nn.Linear(3, 2)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code was run')",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


def load(path: Path) -> Net:
    net = Net()
    load_strictly(net, read_checkpoint(path))
    return net


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (STATE, ()),
        ({"model": STATE}, ()),
        ({"model": STATE, "optimizer": {"state": {}}, "epoch": 3, "time_elapsed": 1.5}, ()),
        ({"model": STATE, "args": argparse.Namespace(lr=1e-4, betas=(0.9, 0.99), nested=argparse.Namespace(seed=0))}, ()),
        ({"state_dict": STATE, "hyper_parameters": {"lr": 1e-4}}, ("weights taken from 'state_dict' of their file",)),
        ({"model_state_dict": STATE}, ("weights taken from 'model_state_dict' of their file",)),
        ({"model": {f"module.{key}": value for key, value in STATE.items()}}, ("'module.' taken off the names of the weights",)),
        (
            {"state_dict": {f"model._orig_mod.{key}": value.half() for key, value in STATE.items()}},
            (
                "weights taken from 'state_dict' of their file",
                "'model._orig_mod.' taken off the names of the weights",
                "weights stored as float16",
            ),
        ),
        ({"model": {key: value.bfloat16() for key, value in STATE.items()}}, ("weights stored as bfloat16",)),
        ({"model": {key: value.double() for key, value in STATE.items()}}, ("weights stored as float64",)),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_every_wrapping_gives_the_same_weights(path: Path, content: Any, notes: tuple[str, ...], legacy: bool) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert read_checkpoint(path).notes == notes
    assert all(torch.equal(value, STATE[name]) and value.dtype == torch.float32 for name, value in load(path).state_dict().items())


def test_safetensors_are_taken(path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file({key: value.half() for key, value in STATE.items()}, path)
    assert all(torch.equal(value, STATE[name]) for name, value in load(path).state_dict().items())
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(RunnerError, match="is a damaged file of safetensors"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>302 Found</body></html>\n", "is a web page"),
        (b"\n <html>404</html>", "is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is an XML document"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n", r"is a pointer of Git LFS.*git lfs pull"),
        (b"\x1f\x8b\x08\x00\x00\x00", "is compressed with gzip"),
        (b"\0" * 257 + b"ustar\x0000" + b"\0" * 300, "is a tar archive"),
        (b"\x1b[31mhello\x1b[0m\x07", "cannot be read as a checkpoint"),
        (b"PK\x03\x04 and no archive", "cannot be read as a checkpoint"),
    ],
)
def test_other_files_are_told_by_what_they_are(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(RunnerError, match=rf"model\.pt: {said}"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": STATE, "args": argparse.Namespace(path=Path("a"))}, r"holds an object of pathlib\.\w+ beside its weights.*alone"),
        ({"model": Trap()}, r"holds an object of (builtins\.)?exec.*would run code"),
        (torch.nn.Linear(2, 2), r"holds an object of torch\.nn\.modules\.linear\.Linear"),
        ([1, 2, 3], "holds no state dict.*it holds a list"),
        ({}, "it holds an empty dict"),
        ({"epoch": 3, "\x1b[31mred\x1b[0m\n": STATE}, "it holds a dict of epoch, red; "),
        ({"model": {"block": {"weight": STATE["block.weight"]}}}, "holds no state dict"),
        ({"a": torch.eye(3).to_sparse()}, "a is sparse"),
        ({"a": torch.empty(3, device="meta")}, "a is sparse, quantized or without numbers"),
    ],
)
def test_contents_that_are_no_weights_are_named(path: Path, content: Any, said: str) -> None:
    torch.save(content, path)
    with pytest.raises(RunnerError, match=said) as caught:
        read_checkpoint(path)
    assert not any(word in str(caught.value).lower() for word in ("weights_only", "remov", "delete", "rm "))
    assert all(unicodedata.category(char)[0] != "C" for char in str(caught.value))


@pytest.mark.filterwarnings("ignore")
def test_compiled_archives_and_plain_pickles_are_refused(path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(RunnerError, match="is a TorchScript archive"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(RunnerError, match=r"model\.pt"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(RunnerError, match="cannot be read as a checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_numbers_of_another_kind_are_no_weights(path: Path, kind: Any) -> None:
    torch.save({**STATE, "block.bias": STATE["block.bias"].to(kind)}, path)
    with pytest.raises(RunnerError, match=r"do not fit the model \(1 of another type: block\.bias\)"):
        load(path)


def test_counters_stay_whole_numbers(path: Path) -> None:
    norm = torch.nn.BatchNorm1d(2)
    torch.save(norm.state_dict(), path)
    load_strictly(norm, read_checkpoint(path))


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_errors_and_nothing_else(path: Path) -> None:
    torch.save({"model": STATE}, path)
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(150):
        data = bytearray(whole[: rng.choice((len(whole), rng.randrange(len(whole))))])
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(RunnerError):
            load(path)


# ---- the sum is that of what was loaded


def test_a_file_swapped_with_its_size_and_time_kept_has_its_own_sum(path: Path) -> None:
    torch.save(STATE, path)
    first, was = read_checkpoint(path), path.stat()
    assert first.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    torch.save({key: -value for key, value in STATE.items()}, path)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    second = read_checkpoint(path)
    assert second.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() != first.sha256
    assert torch.equal(second.state["block.bias"], -STATE["block.bias"])
    assert [entry.name for entry in path.parent.iterdir()] == ["model.pt"], "nothing is written beside the weights"


def test_a_file_renamed_over_while_it_is_read_does_not_mix(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(STATE, path)
    was = hashlib.sha256(path.read_bytes()).hexdigest()
    other = path.with_name("other.pt")
    torch.save({key: -value for key, value in STATE.items()}, other)
    original = checkpoints._content

    def swapping(*arguments: Any) -> Any:
        other.replace(path)
        return original(*arguments)

    monkeypatch.setattr(checkpoints, "_content", swapping)
    found = read_checkpoint(path)
    assert found.sha256 == was
    assert torch.equal(found.state["block.bias"], STATE["block.bias"])


def test_a_file_written_while_it_is_read_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(STATE, path)
    was = path.stat()
    original = checkpoints._content

    def writing(*arguments: Any) -> Any:
        content = original(*arguments)
        path.write_bytes(path.read_bytes()[::-1])
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
        return content

    monkeypatch.setattr(checkpoints, "_content", writing)
    with pytest.raises(RunnerError, match="was written while it was read"):
        read_checkpoint(path)
