"""Faults planted in the arm's model, each found at its stage and on its frame; a healthy arm passes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runners import RUNNERS, SHIPPED_WEIGHTS
from runners.base import MODEL_STAGES
from savbench.certify.bounds import bound_of
from savbench.certify.findings import FORCED, FREE, ObjectFindings, errors_of, first_beyond
from savbench.data.dataset import open_split
from savbench.data.demo.split import generate_demo_split
from savbench.plan.arms import plan_arms
from savbench.plan.job import Job
from savbench.plan.protocols import SAV
from savbench.plan.settings import RunConfig

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("sam2", reason="needs sam2")

from savbench.certify.child import build, certify_object, reference_of, with_scores  # noqa: E402 - needs torch

if TYPE_CHECKING:
    from savbench.certify.forcing import Side

FRAMES = 9
Certify = Callable[[str], ObjectFindings]


class Bench:
    """A reference and a candidate of sam2_nano, built once; the candidate's dtype and attention are chosen for each run."""

    def __init__(self, split_dir: Path) -> None:
        self._split = open_split(split_dir)
        self.reference: Side = build(reference_of(self._job("float32")))
        self.candidate: Side = build(self._job("float32"))

    def _job(self, dtype: str, attention: str = "auto") -> Job:
        arms = {"models": ("sam2_nano_mask",), "autocast_dtypes": (dtype,), "attention": (attention,), "imgsz": (96,), "device": "cpu"}
        config = RunConfig(split_dir=self._split.root, **arms)  # type: ignore[arg-type]
        (arm,) = plan_arms(config, self._split.name)
        spec = RUNNERS["sam2_nano"]
        return Job(config, arm, (), self._split.name, "", "", Path(), weights=SHIPPED_WEIGHTS / (spec.checkpoint or ""))

    @property
    def model(self) -> Any:
        """The candidate's predictor."""
        return self.candidate.stages()[0].owner

    def run(self, dtype: str = "float32", attention: str = "auto") -> ObjectFindings:
        from savbench.measure.devices import TorchDevice

        device = TorchDevice(torch, "cpu")

        @contextlib.contextmanager
        def contexts() -> Iterator[None]:
            with device.attention(attention), device.autocast(dtype):
                yield

        name = next(iter(self._split.videos))
        video = self._split.video(name).take(FRAMES)
        candidate = dataclasses.replace(self.candidate, contexts=contexts)
        compared = certify_object(self.reference, candidate, video, video.objects[0].object, self._job(dtype))
        return with_scores(compared, video, SAV)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("split") / "demo"
    generate_demo_split(folder, videos=1, frames=24, height=96, width=128)
    return Bench(folder)


def found_at(findings: ObjectFindings, dtype: str = "float32") -> tuple[str, int] | None:
    beyond = first_beyond([findings], dict.fromkeys(MODEL_STAGES, bound_of(dtype)))
    return None if beyond is None else (beyond.error.stage, beyond.error.frame)


@pytest.mark.parametrize(("dtype", "attention"), [("float32", "manual"), ("bfloat16", "auto"), ("float16", "auto")])
def test_a_healthy_arm_stays_within_its_bound_on_every_frame(bench: Bench, dtype: str, attention: str) -> None:
    findings = bench.run(dtype, attention)
    assert found_at(findings, dtype) is None
    for mode in (FORCED, FREE):
        for stage in ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder"):
            frames = [error.frame for error in errors_of([findings], mode, stage)]
            assert frames[-FRAMES + 1 :] == list(range(1, FRAMES)), (mode, stage)
    assert max(error.error for error in errors_of([findings], FORCED, "memory_attention")) > 0, "it does compute otherwise"
    assert len(findings.mask_ious) == FRAMES - 1
    assert min(findings.mask_ious) > 0.9
    assert findings.reference_JandF == pytest.approx(findings.candidate_JandF, abs=0.02)


def test_the_reference_itself_has_no_error(bench: Bench) -> None:
    findings = bench.run()
    assert {error.error for error in findings.errors} == {0.0}
    assert findings.mask_ious == (1.0,) * (FRAMES - 1)
    assert findings.reference_JandF == findings.candidate_JandF


def test_a_wrong_rope_is_found_in_memory_attention_on_the_first_tracked_frame(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    attention = bench.model.memory_attention.layers[0].self_attn
    compute = attention.compute_cis
    monkeypatch.setattr(attention, "compute_cis", lambda **sizes: compute(**sizes).conj())
    monkeypatch.setattr(attention, "freqs_cis", attention.freqs_cis.conj())
    assert found_at(bench.run()) == ("memory_attention", 1)


def test_a_transposed_mask_of_the_decoder_is_found_there_on_the_prompted_frame(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = bench.model.sam_mask_decoder
    forward = decoder.forward

    def transposed(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        masks, *others = forward(*args, **kwargs)
        return masks.mT, *others

    monkeypatch.setattr(decoder, "forward", transposed)
    assert found_at(bench.run()) == ("mask_decoder", 0)


def test_a_transposed_mask_to_the_memory_encoder_is_found_there(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = bench.model.memory_encoder
    forward = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda features, masks, **how: forward(features, masks.mT, **how))
    findings = bench.run()
    assert found_at(findings) == ("memory_encoder", 0)
    assert max(error.error for error in errors_of([findings], FORCED, "mask_decoder")) < bound_of("float32"), "others are not blamed"
    assert max(error.error for error in errors_of([findings], FREE, "mask_decoder")) > bound_of("float32"), "but suffer from it"


def test_a_float16_overflow_is_found_where_it_happens(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    block = bench.model.image_encoder.trunk.blocks[1]
    forward = block.forward

    def overflowing(x: Any) -> Any:
        result = forward(x)
        if not torch.is_autocast_enabled("cpu"):
            return result
        return (result.half() * 60_000 / 60_000).to(result.dtype)

    monkeypatch.setattr(block, "forward", overflowing)
    findings = bench.run("float16")
    assert found_at(findings, "float16") == ("image_encoder", 0)
    assert not errors_of([findings], FORCED, "image_encoder")[0].finite


def test_a_stale_memory_is_found_on_the_second_frame(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from an output buffer that is read before the graph has written it: the memory is that of the frame before."""
    encoder = bench.model.memory_encoder
    forward, kept = encoder.forward, list[Any]()

    def stale(*args: Any, **kwargs: Any) -> Any:
        kept.append({name: value.clone() if name == "vision_features" else value for name, value in forward(*args, **kwargs).items()})
        return dict(kept[max(0, len(kept) - 2)])

    monkeypatch.setattr(encoder, "forward", stale)
    assert found_at(bench.run()) == ("memory_encoder", 1)


def test_a_memory_that_attention_keeps_is_found_there_when_it_first_matters(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from an input that is bound once: attention reads the memory of the first tracked frame on later ones, where it has grown."""
    attention = bench.model.memory_attention
    forward, first = attention.forward, list[Any]()

    def bound_once(*, memory: Any, **kwargs: Any) -> Any:
        first.append(memory.clone())
        memory = memory.clone()
        memory[: len(first[0])] = first[0]
        return forward(memory=memory, **kwargs)

    monkeypatch.setattr(attention, "forward", bound_once)
    found = found_at(bench.run())
    assert found is not None
    assert found[0] == "memory_attention"
    assert found[1] > 1
