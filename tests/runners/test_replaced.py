"""Replacing attributes for a block: what was there comes back exactly."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from runners.torch_common import all_replaced, replaced  # noqa: E402


class Predictor(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Identity()

    def decode(self) -> str:
        return "upstream"


def test_what_a_class_has_is_not_left_in_its_object() -> None:
    predictor = Predictor()
    with replaced(predictor, "decode", lambda: "ours"):
        assert predictor.decode() == "ours"
    assert predictor.decode() == "upstream"
    assert "decode" not in vars(predictor)


def test_a_function_takes_the_place_of_a_submodule() -> None:
    predictor = Predictor()
    encoder = predictor.encoder
    with replaced(predictor, "encoder", lambda frame: -frame):
        assert predictor.encoder(2) == -2
    assert predictor.encoder is encoder
    assert list(predictor.children()) == [encoder]


def test_each_wraps_what_an_earlier_one_put_there() -> None:
    module = SimpleNamespace(load=lambda: "a")
    original = module.load

    def adding(letter: str) -> Callable[[], str]:
        before = module.load
        return lambda: before() + letter

    with all_replaced((module, "load", adding(letter)) for letter in "bc"):
        assert module.load() == "abc"
    assert module.load is original


def test_an_error_restores_what_was_replaced_before_it() -> None:
    module = SimpleNamespace(load=str)
    with (
        pytest.raises(AttributeError, match="save"),
        all_replaced((module, name, repr if name == "load" else module.save) for name in ("load", "save")),
    ):
        pass
    with pytest.raises(ValueError, match="block"), replaced(module, "load", repr):
        raise ValueError("block")
    assert vars(module) == {"load": str}
