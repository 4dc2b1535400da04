"""Named controls: what they move, their files, and their choice by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from editing import controls as module
from editing.controls import Control, choose_control, chosen_controls, find_controls, load_controls, save_controls
from editing.loading import load_model
from models.checkpoint import BUNDLED_CONTROLS, bundled_model
from models.latents import to_wplus
from tests.editing.tiny import CONFIG, tiny_generator
from utils.errors import EditError


def example(name: str = "hair length", part: int | None = 2) -> Control:
    vector = torch.randn(3, CONFIG.latent_dim).half().float()
    return Control(name, part, torch.tensor([0, 1, 6]), vector, -1.5, 3.0, "by hand")


def test_an_amount_of_1_is_a_move_to_the_measured_end() -> None:
    control, codes = example(), torch.randn(2, CONFIG.latent_dim)
    before = to_wplus(codes, CONFIG)
    for amount, strength in ((1, 3.0), (0.5, 1.5), (0, 0), (-1, -1.5), (-2, -3.0)):
        moved = control.move(codes, amount, CONFIG)
        torch.testing.assert_close(moved[:, control.index], before[:, control.index] + strength * control.vector)
        assert torch.equal(moved[:, 2:6], before[:, 2:6])


def test_controls_survive_a_file(tmp_path: Path) -> None:
    saved = [example(), replace(example("head turn", None), index=torch.tensor([1]), vector=torch.ones(1, 16))]
    save_controls(saved, tmp_path / "controls.npz", tiny_generator())
    for before, after in zip(saved, load_controls(tmp_path / "controls.npz", tiny_generator()), strict=True):
        assert torch.equal(before.index, after.index)
        assert torch.equal(before.vector, after.vector)
        assert replace(after, index=before.index, vector=before.vector) == before
    assert [path.name for path in tmp_path.iterdir()] == ["controls.npz"]


def test_controls_of_another_model_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = tmp_path / "controls.npz", tiny_generator()
    save_controls([example()], path, tiny_generator())
    with torch.no_grad():
        next(other.mapping.parameters()).mul_(1.1)
    with pytest.raises(EditError, match=r"controls.npz was made for another model; make controls .*make_controls"):
        load_controls(path, other)
    monkeypatch.setattr(module, "BUNDLED_CONTROLS", path)
    assert find_controls(None, other, is_bundled=True) == ()
    assert find_controls(None, tiny_generator(), is_bundled=False) == ()
    assert [each.name for each in find_controls(None, tiny_generator(), is_bundled=True)] == ["hair length"]
    with pytest.raises(EditError, match="another model"):
        find_controls(path, other, is_bundled=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": np.zeros((3, 15), np.float16)}, "do not fit this model"),
        ({"vectors": np.full((3, 16), np.inf, np.float16)}, "do not fit this model"),
        ({"index": np.array([0, 1, 10])}, "do not fit this model"),
        ({"parts": np.array([4])}, "do not fit this model"),
        ({"counts": np.array([2])}, "do not fit this model"),
        ({"counts": np.array([-3])}, "do not fit this model"),
        ({"limits": np.array([[0, 1]], np.float32)}, "do not fit this model"),
        ({"limits": np.array([[-1, np.nan]], np.float32)}, "do not fit this model"),
        ({"vectors": np.zeros((3, 16))}, "does not hold controls"),
        ({"names": np.array(["a", "b"])}, "does not hold controls"),
        ({"descriptions": np.array(["x" * 70_000])}, "does not hold controls"),
        ({"names": np.array([{"code": 1}])}, "make controls for this model with"),
        ({"model": None}, "lacks the array model"),
    ],
)
def test_damaged_files(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "controls.npz"
    save_controls([example()], path, tiny_generator())
    with np.load(path) as archive:
        fields = {name: value for name, value in {**archive, **change}.items() if value is not None}
    np.savez(path, **fields)
    with pytest.raises(EditError, match=rf"controls.npz:? .*{message}"):
        load_controls(path, tiny_generator())


def test_a_wrong_name_lists_the_right_ones() -> None:
    controls = [example(), example("smile")]
    assert choose_control(controls, "smile").name == "smile"
    with pytest.raises(
        EditError, match=r"'hair lenght': did you mean 'hair length'\? the model's controls are hair length, smile"
    ):
        choose_control(controls, "hair lenght")
    with pytest.raises(EditError, match=r"this model has no controls; make controls .* --controls"):
        choose_control([], "smile")


def test_amounts_beyond_the_range_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = chosen_controls([("smile", 1.0), ("smile", -1.5)], [example("smile")])
    assert [amount for _, amount in chosen] == [1.0, -1.5]
    assert capsys.readouterr().err == "warning: --control 'smile' -1.5 is beyond -1 to 1, the range of good images\n"


def test_the_bundled_controls_fit_the_bundled_model() -> None:
    generator, classes = load_model(bundled_model(), torch.device("cpu"))
    controls = load_controls(BUNDLED_CONTROLS, generator)
    assert {"hair length", "hair lightness", "face width"} <= {each.name for each in controls}
    assert all(each.part is None or classes.names[each.part] for each in controls)
    assert BUNDLED_CONTROLS.stat().st_size < 50_000
