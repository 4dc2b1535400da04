from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from editing.direction_files import Direction, apply_moves, fingerprint, load_direction, save_direction
from editing.mixing import CodeKind, code_index, parse_parts
from models.latents import to_wplus
from tests.editing.tiny import CONFIG, NAMES, tiny_generator
from utils.errors import EditError


def direction(part: int | None = 2, kind: CodeKind = "both", model: str = "") -> Direction:
    vectors = 1 if kind != "both" else 2
    model = model or fingerprint(tiny_generator())
    return Direction("long hair", part, kind, torch.randn(vectors, CONFIG.latent_dim), model, "by hand")


@pytest.mark.parametrize(
    ("part", "kind", "text"),
    [(2, "both", "hair"), (2, "shape", "hair"), (0, "texture", "background"), (None, "both", "base")],
)
def test_a_direction_moves_its_parts_codes_alone(part: int | None, kind: CodeKind, text: str) -> None:
    each, codes = direction(part, kind), torch.randn(3, 16)
    own = code_index(CONFIG, parse_parts(text, NAMES), kind)
    others = sorted({*range(CONFIG.num_codes)} - {*own.tolist()})
    moved, before = each.move(codes, -2.0, CONFIG), to_wplus(codes, CONFIG)
    torch.testing.assert_close(moved[:, own], before[:, own] - 2 * each.vector)
    assert torch.equal(moved[:, others], before[:, others])


def test_directions_add_up_and_leave_the_codes_given() -> None:
    hair, background = direction(2), direction(0, "shape")
    codes = torch.randn(2, CONFIG.num_codes, 16)
    before = codes.clone()
    there = apply_moves(codes, [(hair, 2.0), (background, 1.0)], CONFIG, scale=0.5)
    assert torch.equal(codes, before)
    assert not torch.allclose(there, codes)
    torch.testing.assert_close(apply_moves(there, [(background, -0.5), (hair, -1.0)], CONFIG), codes)
    assert apply_moves(codes, [], CONFIG) is codes


@pytest.mark.parametrize("part", [2, None])
def test_a_direction_survives_a_file(tmp_path: Path, part: int | None) -> None:
    saved = direction(part)
    save_direction(saved, tmp_path / "hair.npz")
    loaded = load_direction(tmp_path / "hair.npz", tiny_generator())
    assert torch.equal(loaded.vector, saved.vector)
    assert replace(loaded, vector=saved.vector) == saved
    assert [path.name for path in tmp_path.iterdir()] == ["hair.npz"]


def test_the_fingerprint_is_of_the_space_of_codes() -> None:
    own = fingerprint(tiny_generator())
    tuned, exported, other = tiny_generator(), tiny_generator(), tiny_generator()
    with torch.no_grad():
        tuned.render_net.to_rgb[0].bias.add_(1)
        next(other.mapping.parameters()).mul_(1.1)
    assert fingerprint(tuned) == fingerprint(exported.half().float()) == fingerprint(exported.double()) == own
    assert fingerprint(other) != own


def test_another_models_direction_is_refused(tmp_path: Path) -> None:
    save_direction(direction(model="0123456789abcdef"), tmp_path / "hair.npz")
    with pytest.raises(EditError, match=r"hair.npz was made for another model; make one .*scripts\.directions"):
        load_direction(tmp_path / "hair.npz", tiny_generator())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vector": np.zeros((1, 16), np.float32)}, "vectors do not fit this model"),
        ({"vector": np.zeros((2, 15), np.float32)}, "vectors do not fit this model"),
        ({"vector": np.zeros((2, 16), np.int64)}, "not a direction"),
        ({"vector": np.full((2, 16), np.nan, np.float32)}, "not a direction"),
        ({"part": np.asarray(4)}, "vectors do not fit this model"),
        ({"part": np.asarray("hair")}, "not a direction"),
        ({"kind": np.asarray("smell")}, "unknown kind 'smell'"),
        ({"name": np.asarray([{"code": 1}])}, "make one for this model with"),
        ({"name": None}, "make one for this model with"),
    ],
)
def test_damaged_files(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "hair.npz"
    save_direction(direction(), path)
    with np.load(path) as archive:
        fields = {name: value for name, value in {**archive, **change}.items() if value is not None}
    np.savez(path, **fields)
    with pytest.raises(EditError, match=rf"hair.npz:? .*{message}"):
        load_direction(path, tiny_generator())


def test_files_that_are_no_directions(tmp_path: Path) -> None:
    path = tmp_path / "hair.npz"
    with pytest.raises(EditError, match=r"hair.npz: no such file"):
        load_direction(path, tiny_generator())
    np.save(tmp_path / "codes.npy", np.zeros((1, 16)))
    for content in (b"", b"text", b"PK\x03\x04 cut", (tmp_path / "codes.npy").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(EditError, match=r"hair.npz: .*make one for this model with"):
            load_direction(path, tiny_generator())
