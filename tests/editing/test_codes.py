from pathlib import Path

import numpy as np
import pytest
import torch

from editing.codes import load_codes, save_codes, seed_codes, source_codes
from editing.seeds import parse_seeds
from tests.editing.tiny import CONFIG, tiny_generator
from utils.errors import EditError


def test_a_seed_means_the_same_in_every_company() -> None:
    generator = tiny_generator()
    torch.manual_seed(1)
    alone = seed_codes(generator, [7])
    torch.manual_seed(2)
    together = seed_codes(generator, [3, 7, 9])
    torch.testing.assert_close(alone[0], together[1])
    assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("shape", [(3, 16), (2, 10, 16)])
def test_codes_survive_a_file(tmp_path: Path, shape: tuple[int, ...]) -> None:
    codes = torch.randn(shape)
    save_codes(codes.double(), tmp_path / "codes.npy")
    assert torch.equal(load_codes(tmp_path / "codes.npy", CONFIG), codes)
    assert [path.name for path in tmp_path.iterdir()] == ["codes.npy"]


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((2, 17), np.float32), r"holds float32 \[2, 17\]"),
        (np.zeros((2, 9, 16), np.float32), r"holds float32 \[2, 9, 16\]"),
        (np.zeros((0, 16), np.float32), r"holds float32 \[0, 16\]"),
        (np.float32(1), r"holds float32 \[\]"),
        (np.zeros((2, 16), np.int64), "holds int64"),
        (np.full((2, 16), np.nan, np.float32), "not finite"),
        (np.full((2, 16), 1e300), "not finite"),
        (np.array([{"a": 1}]), "holds object_ values, not numbers"),
    ],
)
def test_codes_of_another_kind(tmp_path: Path, array: np.ndarray, found: str) -> None:
    path = tmp_path / "codes.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(EditError, match=rf"codes.npy:? .*{found}.*; expected floats \[N, 16\] or \[N, 10, 16\]"):
        load_codes(path, CONFIG)


def test_files_that_hold_no_codes(tmp_path: Path) -> None:
    path = tmp_path / "codes.npy"
    with pytest.raises(EditError, match=r"codes.npy: no such file"):
        load_codes(path, CONFIG)
    for content in (b"", b"no array", b"\x93NUMPY\x01\x00 cut"):
        path.write_bytes(content)
        with pytest.raises(EditError, match=r"not a \.npy array"):
            load_codes(path, CONFIG)
    (tmp_path / "codes.pt").write_bytes(b"no archive")
    with pytest.raises(EditError, match=r"is not an archive of torch.save"):
        load_codes(tmp_path / "codes.pt", CONFIG)


SHAPES = [((3, 16), (3, 16)), ((2, 10, 16), (2, 10, 16)), ((16,), (1, 16))]
SHAPES += [((1, 16), (1, 16)), ((1, 10, 16), (1, 10, 16)), ((1, 2, 10, 16), (2, 10, 16))]


@pytest.mark.parametrize(("stored", "read"), SHAPES)
@pytest.mark.parametrize("half", [False, True])
def test_codes_of_other_programs(tmp_path: Path, stored: tuple[int, ...], read: tuple[int, ...], half: bool) -> None:
    codes = torch.randn(stored).half().to(torch.float16 if half else torch.float32)
    expected = codes.float().reshape(read)
    files = {name: tmp_path / name for name in ("one.npz", "packed.npz", "named.npz", "lone.pt", "dict.pt", "deep.pt")}
    np.savez(files["one.npz"], projected=codes.numpy())
    np.savez_compressed(files["packed.npz"], w=codes.numpy())
    np.savez(files["named.npz"], w=codes.numpy(), mean=np.zeros((1, 16), np.float32), loss=np.zeros(7))
    torch.save(codes, files["lone.pt"])
    torch.save({"latent": codes, "latent_avg": torch.zeros(16), "noise": [torch.zeros(1, 1, 4, 4)]}, files["dict.pt"])
    torch.save({"photo.png": {"latent": codes, "img": torch.zeros(3, 32, 32)}}, files["deep.pt"])
    for path in files.values():
        assert torch.equal(load_codes(path, CONFIG), expected), path
    np.save(tmp_path / "codes.npy", torch.zeros(10, 16).numpy())
    assert load_codes(tmp_path / "codes.npy", CONFIG).shape == (10, 16)  # codes of W, as --save-latents writes them


@pytest.mark.parametrize("name", ["w.npz", "w.pt"])
def test_codes_that_may_be_of_w_or_of_w_plus_are_refused(tmp_path: Path, name: str) -> None:
    if name == "w.npz":
        np.savez(tmp_path / name, w=np.zeros((10, 16), np.float32))
    else:
        torch.save({"w": torch.zeros(10, 16)}, tmp_path / name)
    with pytest.raises(
        EditError, match=r"holds w \[10, 16\], which may be 10 W codes .*: save one .* as \[1, 10, 16\]"
    ):
        load_codes(tmp_path / name, CONFIG)


def test_a_list_of_codes_is_stacked(tmp_path: Path) -> None:
    codes = torch.randn(3, 10, 16)
    torch.save(list(codes), tmp_path / "codes.pt")
    assert torch.equal(load_codes(tmp_path / "codes.pt", CONFIG), codes)


def test_arrays_that_do_not_fit_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "codes.npz", w=np.zeros((1, 18, 512), np.float32), seed=np.int64(3))
    message = r"codes.npz holds w float32 \[1, 18, 512\], seed int64 \[\]; expected floats \[N, 16\] or \[N, 10, 16\]"
    with pytest.raises(EditError, match=message):
        load_codes(tmp_path / "codes.npz", CONFIG)
    torch.save({"a": {"latent": torch.zeros(18, 512)}}, tmp_path / "codes.pt")
    with pytest.raises(EditError, match=r"codes.pt holds a.latent float32 \[18, 512\]; expected"):
        load_codes(tmp_path / "codes.pt", CONFIG)


@pytest.mark.parametrize("names", [("a", "b"), ("w", "latent")])
def test_several_that_fit_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    arrays = {name: np.zeros((1, 16), np.float32) for name in names}
    np.savez(tmp_path / "codes.npz", **arrays)
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, tmp_path / "codes.pt")
    for name in ("codes.npz", "codes.pt"):
        with pytest.raises(EditError, match=f"{name} holds 2 arrays that could be the codes: {names[0]}, {names[1]}; "):
            load_codes(tmp_path / name, CONFIG)


def test_a_file_of_codes_is_a_source(tmp_path: Path) -> None:
    codes = torch.randn(1, 10, 16)
    np.savez(tmp_path / "codes.npz", w=codes.numpy())
    assert torch.equal(source_codes(str(tmp_path / "codes.npz"), tiny_generator()), codes)


def test_a_photo_is_no_source_of_codes() -> None:
    with pytest.raises(EditError, match=r"^photos/anna.jpg is neither a seed nor a file of codes .*invert makes"):
        source_codes("photos/anna.jpg", tiny_generator())


def test_seeds_keep_the_order_written() -> None:
    assert parse_seeds("3, 0-2,42,0") == [3, 0, 1, 2, 42, 0]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "0-15,42"),
        ("1,,2", "cannot read ''"),
        ("0-x", "cannot read '0-x'"),
        ("-1", "cannot read '-1'"),
        ("5-3", "write 3-5"),
        ("9223372036854775808", "too large"),
        ("0-9223372036854775807", "several calls"),
        ("0-999999,1", "several calls"),
    ],
)
def test_seeds_that_cannot_be_read(text: str, hint: str) -> None:
    with pytest.raises(EditError, match=hint):
        parse_seeds(text)
