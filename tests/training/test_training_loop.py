"""The training loop and its command: it goes on where it was stopped, and exports what it averaged."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_clips import write_pictures

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("sam2", reason="needs the sam2 package")

from training import loop, sampling  # noqa: E402
from training.export import export  # noqa: E402
from training.model import build_model  # noqa: E402
from training.optimizer import Optimizer  # noqa: E402
from training.pool import PoolConfig  # noqa: E402
from training.recipe import Round, Stage  # noqa: E402

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="training needs torch 2.9 or newer"),
]


def tiny_run(out_dir: Path) -> loop.TrainConfig:
    def stage(side: int, frames: int, **more: Any) -> Stage:
        return Stage(1, side, frames, clips=1, single_frames=1, **{"single_share": 0.0, **more})

    recipe = (
        Round(1e-3, (stage(64, 1, single_share=1.0, discs=True), stage(64, 2))),
        Round(1e-3, (stage(64, 2, shares=(0.0, 0.0, 0.0, 1.0)), stage(128, 2, shares=(1.0, 1.0, 0.0, 0.0)))),
    )
    figures = PoolConfig("train", 0, figures=1, **write_pictures(out_dir / "sources"))  # type: ignore[arg-type]
    return loop.TrainConfig(
        out_dir,
        PoolConfig("train", 2),
        recipe,
        (figures, dataclasses.replace(figures, dressed=1.0)),
        processes=1,
        checkpoint_every_s=0.0,
        validate_every=99,
        validation_clips=1,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps, never stopped."""
    out_dir = tmp_path_factory.mktemp("trained")
    loop.pools_drawn(tiny_run(out_dir), workers=1)
    loop.train(0, tiny_run(out_dir))
    return out_dir


def test_training_goes_on_where_it_was_stopped(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pool", *loop.FIGURE_FOLDERS, "pool_val"):
        (tmp_path / name).symlink_to(trained / name)
    with monkeypatch.context() as patch:
        update = loop._Trainer._update

        def stop_at_the_third(self: loop._Trainer, batch: sampling.Batch) -> float:
            if self.step == 2:
                raise KeyboardInterrupt
            return update(self, batch)

        patch.setattr(loop._Trainer, "_update", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            loop.train(0, tiny_run(tmp_path))
    assert torch.load(loop.latest(tmp_path), weights_only=True)["step"] == 2
    loop.train(0, tiny_run(tmp_path))
    through, resumed = (torch.load(loop.latest(folder), weights_only=True) for folder in (trained, tmp_path))
    assert through["step"] == resumed["step"] == 4
    for kind in ("model", "average"):
        assert all(torch.equal(value, resumed[kind][name]) for name, value in through[kind].items())
    start = build_model(64).state_dict()
    assert any(not torch.equal(value, start[name]) for name, value in through["average"].items())


def test_exported_weights_are_the_averaged_ones_in_half_precision(trained: Path, tmp_path: Path) -> None:
    digest, size = export(loop.latest(trained), tmp_path / "nano.pt")
    average = torch.load(loop.latest(trained), weights_only=True)["average"]
    exported = torch.load(tmp_path / "nano.pt", weights_only=True)["model"]
    assert size == (tmp_path / "nano.pt").stat().st_size < 4_000_000
    assert len(digest) == 64
    assert {value.dtype for value in exported.values()} == {torch.float16}
    assert all(torch.equal(value.half(), exported[name]) for name, value in average.items())


def test_what_a_step_does_not_use_does_not_move() -> None:
    model = build_model(64)
    optimizer = Optimizer(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    used = "memory_attention.layers.0.self_attn.q_proj.weight"
    for name, parameter in model.named_parameters():
        parameter.grad = torch.ones_like(parameter) if name == used else None
    optimizer.step(1e-3)
    assert {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])} == {used}


def test_a_run_does_not_go_on_by_another_recipe(tmp_path: Path) -> None:
    run = tiny_run(tmp_path)
    loop.held_to_its_settings(run)
    loop.held_to_its_settings(tiny_run(tmp_path))
    with pytest.raises(ValueError, match=r"holds a run of another recipe, seed; give what settings\.json says"):
        loop.held_to_its_settings(dataclasses.replace(run, recipe=run.recipe[:1], seed=1))


def test_a_stage_draws_the_kinds_that_it_asks_for(trained: Path) -> None:
    trainer = loop._Trainer(0, tiny_run(trained))
    of_figures, of_scenes = trainer.config.recipe[1].stages
    (figures,), shares = trainer._pools_of(of_figures)
    assert np.array_equal(figures.labels_ntss, trainer.figures[0].labels_ntss)
    assert shares == (1.0,)
    (drawn,), _ = trainer._pools_of(of_scenes)
    assert drawn.clips == 2
    pools, shares = trainer._pools_of(dataclasses.replace(of_figures, shares=(1.0, 0.0, 0.0, 1.0, 2.0)))
    assert np.array_equal(pools[2].frames_ntssc, trainer.figures[1].frames_ntssc)
    assert shares == (1.0, 1.0, 2.0)
    assert not np.array_equal(trainer.figures[0].frames_ntssc, trainer.figures[1].frames_ntssc)
    trainer.figures = ()
    with pytest.raises(ValueError, match="of which this run has none"):
        trainer._pools_of(of_figures)


def test_a_stage_clicks_on_single_frames_as_often_as_it_says(trained: Path) -> None:
    trainer = loop._Trainer(0, tiny_run(trained))
    stage = trainer.config.recipe[0].stages[1]

    def drawn(**changed: Any) -> list[str]:
        kinds = []
        for trainer.step in range(6):
            kinds.append(trainer._draw(dataclasses.replace(stage, **changed))[0])
        return kinds

    assert set(drawn(single_share=1.0, click_share=1.0)) == {"frame/points"}
    assert set(drawn(single_share=1.0, click_share=0.0)) == {"frame/bbox"}
    assert drawn(click_share=1.0) == drawn()


def test_help_and_wrong_arguments(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "training", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)

    assert "goes on from the last checkpoint" in run("--help").stdout
    for arguments, message in {
        ("--real_split", "somewhere"): "--real_split and --real_videos go together",
        ("--figures", "somewhere"): "--figures needs --photos",
        ("--clip_art", "somewhere"): "--clip_art needs --figures",
        ("--photos", str(tmp_path / "missing")): "has no photograph; put JPEG or PNG files there",
        ("--export_only",): "there is no checkpoint yet; train without --export_only first",
    }.items():
        done = run("--out_dir", str(tmp_path), "--export", str(tmp_path / "y.pt"), *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
