from pathlib import Path

import numpy as np
import pytest
import torch

from editing import EditError, load_codes, save_codes, seed_codes
from tests.editing.tiny import CONFIG, tiny_generator


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
        (np.zeros((2, 17), np.float32), r"has shape \[2, 17\]"),
        (np.zeros((2, 9, 16), np.float32), r"has shape \[2, 9, 16\]"),
        (np.zeros((0, 16), np.float32), r"has shape \[0, 16\]"),
        (np.float32(1), r"has shape \[\]"),
        (np.zeros((2, 16), np.int64), "holds int64"),
        (np.full((2, 16), np.nan, np.float32), "not finite"),
        (np.full((2, 16), 1e300), "not finite"),
        (np.array([{"a": 1}]), "holds object_, not numbers"),
    ],
)
def test_codes_of_another_kind(tmp_path: Path, array: np.ndarray, found: str) -> None:
    path = tmp_path / "codes.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(EditError, match=rf"codes.npy:? .*{found}.*; expected floats \[N, 16\] or \[N, 10, 16\]"):
        load_codes(path, CONFIG)


def test_files_that_hold_no_codes(tmp_path: Path) -> None:
    path = tmp_path / "codes.npy"
    with pytest.raises(EditError, match=r"cannot read .*codes.npy: no such file"):
        load_codes(path, CONFIG)
    for content in (b"", b"no array", b"\x93NUMPY\x01\x00 cut"):
        path.write_bytes(content)
        with pytest.raises(EditError, match=r"not a \.npy array"):
            load_codes(path, CONFIG)
    np.savez(tmp_path / "codes.npz", np.zeros((2, 16)))
    with pytest.raises(EditError, match=r"\.npz archive"):
        load_codes(tmp_path / "codes.npz", CONFIG)
