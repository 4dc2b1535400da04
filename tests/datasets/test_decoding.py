import contextlib
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import decoding
from datasets.class_files import celebamask13
from datasets.decoding import read_image, read_pair, read_part_mask
from datasets.labels import ClassTable
from utils.errors import DataError


def read_label(*arguments):
    return decoding.read_label(*arguments)[0]


TABLE = ClassTable(
    ("background", "a", "b"),
    ((0, 0, 0), (255, 0, 0), (0, 0, 255)),
    remap=((700, 2), (9, 1), ("#00ff00", 2)),
    ignore=(255, "#ffffff"),
)
IDS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def saved(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def raw_png(path: Path, bits: int, color_type: int, row: bytes, width: int = 1, exif: bytes = b"") -> Path:
    """A PNG of one row, of kinds that Pillow cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, 1, bits, color_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    chunks[1:1] = [(b"eXIf", exif)] if exif else []
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks))
    return path


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def test_grey_ids(tmp_path: Path) -> None:
    assert np.array_equal(read_label(saved(tmp_path / "m.png", IDS), TABLE), IDS)


def test_palette_indices_are_the_ids_where_colours_mean_nothing(tmp_path: Path) -> None:
    picture = Image.fromarray(IDS)
    picture.putpalette([200, 10, 10, 10, 200, 10, 9, 9, 9])
    picture.save(tmp_path / "m.png", transparency=0)
    assert np.array_equal(read_label(tmp_path / "m.png", TABLE), IDS)


def test_wide_ids_are_remapped(tmp_path: Path) -> None:
    wide = np.array([[0, 1, 700]], np.uint16)
    assert read_label(saved(tmp_path / "m.png", wide), TABLE).tolist() == [[0, 1, 2]]


def test_colours_are_looked_up(tmp_path: Path) -> None:
    colors = np.array([[[0, 0, 0], [255, 0, 0], [0, 0, 255], [0, 255, 0], [255, 255, 255]]], np.uint8)
    opaque = np.concatenate([colors, np.full((1, 5, 1), 255, np.uint8)], axis=2)
    for name, array in (("rgb.png", colors), ("rgba.png", opaque)):
        assert read_label(saved(tmp_path / name, array), TABLE).tolist() == [[0, 1, 2, 2, 0]]


def test_ids_are_remapped_and_the_ignored_become_background(tmp_path: Path) -> None:
    assert read_label(saved(tmp_path / "m.png", np.array([[9, 255, 2]], np.uint8)), TABLE).tolist() == [[1, 0, 2]]


@pytest.mark.parametrize(("bits", "row", "expected"), [(2, 0b00011000, [0, 1, 2, 0]), (4, 0x21, [2, 1])])
def test_few_bits_of_grey_are_not_stretched(tmp_path: Path, bits: int, row: int, expected: list[int]) -> None:
    path = raw_png(tmp_path / "m.png", bits, 0, bytes([row]), width=8 // bits)
    assert read_label(path, TABLE).tolist() == [expected]


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (6, 4), (4, 2)], ids=["RGB", "RGBA", "LA"])
def test_16_bits_a_channel_would_lose_half_of_them(tmp_path: Path, color_type: int, channels: int) -> None:
    path = raw_png(tmp_path / "m.png", 16, color_type, b"\0\1" * (channels - 1) + b"\xff\xff")
    with pytest.raises(DataError, match=r"m\.png: is a mask with 16 bits per channel; store ids as a grey PNG"):
        read_label(path, TABLE)


def test_a_mask_with_an_orientation_of_its_own(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.png", IDS, exif=oriented(6))
    for read in (lambda: read_label(path, TABLE), lambda: read_part_mask(path)):
        with pytest.raises(DataError, match=r"m\.png: is a mask with an EXIF orientation; save it upright"):
            read()
    assert np.array_equal(read_label(saved(tmp_path / "m.png", IDS, exif=oriented(1)), TABLE), IDS)


DAMAGED_EXIF = [b"Exif\0\0", b"II*\0\x08\0\0\0\xff\xff", b"XX*\0", b"II*\0\xff\xff\xff\xff"]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", DAMAGED_EXIF)
@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_damaged_exif_is_no_traceback(tmp_path: Path, exif: bytes, kind: str) -> None:
    path = tmp_path / f"i.{kind}"
    if kind == "png":
        raw_png(path, 8, 2, b"\1\2\3", exif=exif)
    else:
        saved(path, np.zeros((8, 8, 3), np.uint8), exif=b"Exif\0\0" + exif)
    with contextlib.suppress(DataError):
        read_image(path)


def test_damaged_exif_names_the_file(tmp_path: Path) -> None:
    path = raw_png(tmp_path / "i.png", 8, 2, b"\1\2\3", exif=b"XX*\0")
    with pytest.raises(DataError, match=r"i\.png: is truncated or damaged; replace or remove it"):
        read_image(path)


def test_one_bit(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.png", IDS == 1)
    assert read_label(path, replace(TABLE, ignore=())).tolist() == (IDS == 1).astype(int).tolist()
    with pytest.raises(DataError, match=r"id 1 is a, but #ffffff is ignored"):
        read_label(path, TABLE)


def test_ids_of_32_bits_are_not_taken_modulo_16(tmp_path: Path) -> None:
    for value in (65536 + 1, -65536, 2**30):
        path = saved(tmp_path / "m.tif", np.full((2, 2), value, np.int32))
        with pytest.raises(DataError, match=rf"m\.tif: has ids from {value} to {value}; mask ids must lie"):
            read_label(path, TABLE)
    assert read_label(saved(tmp_path / "m.tif", IDS.astype(np.int32)), TABLE).tolist() == IDS.tolist()


@pytest.mark.parametrize(
    ("bits", "interpretation", "order"),
    [(bits, *how) for bits in (1, 2, 4) for how in ((0, 1), (1, 2), (0, 2))] + [(8, 0, 1), (8, 1, 2)],
)
def test_inverted_greys_and_reversed_bits(tmp_path: Path, bits: int, interpretation: int, order: int) -> None:
    """Pillow writes none: the header is made by hand, for 8 x 1 pixels."""
    tags = [(256, 8), (257, 1), (258, bits), (259, 1), (262, interpretation), (266, order), (273, 8 + 2 + 9 * 12 + 4)]
    tags += [(278, 1), (279, bits)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    path = tmp_path / "m.tif"
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0) + bytes(bits))
    with pytest.raises(DataError, match=r"m\.tif: is a TIFF with inverted greys or reversed bits; store ids as a grey"):
        read_label(path, TABLE)


def test_colours_that_nobody_gave_mean_nothing(tmp_path: Path) -> None:
    """Those that stand in where a class table has none are for pictures of masks, not for reading masks."""
    path = saved(tmp_path / "m.png", np.array([[[0, 0, 0], [255, 0, 0]]], np.uint8))
    assert read_label(path, TABLE).tolist() == [[0, 1]]
    with pytest.raises(DataError, match=r"has colours #ff0000 that are not in the class table"):
        read_label(path, replace(TABLE, uncolored=(1,)))
    bare = ClassTable(TABLE.names, TABLE.colors, uncolored=(0, 1, 2))
    with pytest.raises(DataError, match=r"the class table has none; add colours to it, or store ids"):
        read_label(path, bare)


BAD_MASKS = [
    (IDS + 3, "m.png", {}, "has ids 3, 4, 5 outside the class table (0..2)"),
    (np.full((2, 2), 999, np.uint16), "m.png", {}, "has ids 999 outside"),
    (np.full((2, 2, 3), 7, np.uint8), "m.png", {}, "has colours #070707 that are not in the class table"),
    (IDS, "m.jpg", {}, "a format that can change ids (JPEG); export the original mask as PNG"),
    (IDS, "m.webp", {}, "change ids (WEBP)"),
    (np.full((2, 2, 4), 7, np.uint8), "m.png", {}, "transparent pixels; flatten it"),
    (np.zeros((2, 2), np.float32), "m.tiff", {}, "has mode F; store ids as a grey or palette PNG"),
]


@pytest.mark.parametrize(("array", "name", "options", "message"), BAD_MASKS, ids=[case[3] for case in BAD_MASKS])
def test_masks_that_would_change_silently(tmp_path: Path, array, name: str, options, message: str) -> None:
    path = saved(tmp_path / name, array, **options)
    with pytest.raises(DataError) as caught:
        read_label(path, TABLE)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_two_classes_of_one_colour_cannot_be_told_apart(tmp_path: Path) -> None:
    table = ClassTable(("a", "b"), ((0, 0, 0), (0, 0, 0)))
    with pytest.raises(DataError, match="a shares its colour with another class"):
        read_label(saved(tmp_path / "m.png", np.zeros((2, 2, 3), np.uint8)), table)


def test_images_of_any_8_bit_kind_become_rgb(tmp_path: Path) -> None:
    grey = np.full((4, 4), 90, np.uint8)
    palette = Image.fromarray(np.zeros((4, 4), np.uint8))
    palette.putpalette([90, 90, 90])
    palette.save(tmp_path / "palette.png")
    saved(tmp_path / "grey.png", grey)
    saved(tmp_path / "opaque.png", np.dstack([grey, grey, grey, np.full_like(grey, 255)]))
    for name in ("palette.png", "grey.png", "opaque.png"):
        assert np.array_equal(np.asarray(read_image(tmp_path / name)), np.full((4, 4, 3), 90))


def cmyk(path: Path) -> None:
    Image.new("CMYK", (8, 8)).save(path)


def truncated(path: Path) -> None:
    saved(path, np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:1500])


BAD_IMAGES = [
    ("i.jpg", cmyk, "is CMYK"),
    ("i.jpg", truncated, "is truncated or damaged"),
    ("i.png", lambda path: saved(path, np.zeros((4, 4, 4), np.uint8)), "has transparent pixels"),
    ("i.png", lambda path: saved(path, np.zeros((4, 4), np.uint16)), "has mode I;16"),
    ("i.jpg", lambda path: path.write_bytes(b"not an image"), "is not an image"),
    ("i.jpg", lambda path: path.write_bytes(b""), "is not an image"),
    ("i.png", lambda path: None, "no such file"),
]


@pytest.mark.parametrize(("name", "make", "message"), BAD_IMAGES, ids=[case[2] for case in BAD_IMAGES])
def test_images_that_cannot_be_used(tmp_path: Path, name: str, make, message: str) -> None:
    make(tmp_path / name)
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {message}")


# Where the upper left corner of the stored picture lies when it is shown, by EXIF orientation.
CORNERS = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}


@pytest.mark.parametrize("orientation", list(CORNERS))
@pytest.mark.parametrize("mask_is", ["as stored", "upright"])
def test_exif_orientation_turns_image_and_mask(tmp_path: Path, orientation: int, mask_is: str) -> None:
    image, label = np.zeros((8, 16, 3), np.uint8), np.zeros((8, 16), np.uint8)
    image[:4, :4], label[:4, :4] = 255, 2
    saved(tmp_path / "i.png", image, exif=oriented(orientation))
    turned = orientation >= 5
    if mask_is == "upright" and turned:
        label = np.zeros((16, 8), np.uint8)
        rows, columns = ({0: slice(4), -1: slice(-4, None)}[place] for place in CORNERS[orientation])
        label[rows, columns] = 2
    record = read_pair(tmp_path / "i.png", saved(tmp_path / "m.png", label), TABLE)
    assert record.image.size == ((8, 16) if turned else (16, 8))
    assert record.turned == (orientation != 1)
    assert record.ambiguous == (orientation in (2, 3, 4))
    assert record.label is not None
    assert record.label[CORNERS[orientation]] == 2
    assert np.array_equal(np.asarray(record.image)[..., 0] == 255, record.label == 2)


@pytest.mark.parametrize(("orientation", "ambiguous"), [(1, False), (6, True)])
def test_a_square_mask_fits_both_ways(tmp_path: Path, orientation: int, ambiguous: bool) -> None:
    image = saved(tmp_path / "i.png", np.zeros((8, 8, 3), np.uint8), exif=oriented(orientation))
    mask = saved(tmp_path / "m.png", np.zeros((8, 8), np.uint8))
    assert read_pair(image, mask, TABLE).ambiguous == ambiguous
    assert not read_pair(image, None, TABLE).ambiguous


def test_a_tiff_with_an_orientation(tmp_path: Path) -> None:
    path = saved(tmp_path / "i.tiff", np.zeros((8, 16, 3), np.uint8), tiffinfo={0x0112: 6})
    with pytest.raises(DataError, match=r"i\.tiff: is a TIFF with an orientation; save it upright, without"):
        read_image(path)
    path = saved(tmp_path / "i.tiff", np.zeros((8, 16, 3), np.uint8), tiffinfo={0x0112: 1})
    assert read_image(path).size == (16, 8)


def test_sizes_that_differ(tmp_path: Path) -> None:
    image, mask = saved(tmp_path / "i.png", np.zeros((8, 8, 3), np.uint8)), saved(tmp_path / "m.png", IDS)
    with pytest.raises(
        DataError, match=r"m\.png: is 2x3, but its image .*i\.png is 8x8 \(height x width\); make both the same size"
    ):
        read_pair(image, mask, celebamask13())
