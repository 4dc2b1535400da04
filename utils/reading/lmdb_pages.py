"""The tree of an LMDB's pages: LMDB's own library trusts it, and one wrong byte there can end the process by a signal.

As LMDB 0.9 writes it on machines of 64 bits (lmdb.h, mdb.c): a page begins with a header of 16 bytes; in branches and
leaves the places of their nodes follow, uint16, up to `lower`. A node is four uint16 (lo, hi, flags, length of the
key), the key, and in leaves the value, or the number of the page where a long one begins.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.errors import ReadingError

_HEADER = 16
_BRANCH, _LEAF = 0x01, 0x02
_KINDS = ~0x10  # flags that say what a page is: all but "not written yet"
_ELSEWHERE = 0x01  # flag of a node whose value has pages of its own
_NONE = 2**64 - 1  # in place of an empty tree's root
_DEEPEST = 32


class _Tree(NamedTuple):
    """What the description of the tree says, in one of the file's first two pages."""

    page_size: int
    flags: int
    depth: int
    root: int
    last_page: int
    transaction: int


_DESCRIPTION = struct.Struct("<40x I 44x 4x H H 32x Q Q Q")


def check_pages(file: Path) -> None:
    """Follows every branch to its leaves: they lie in the file, as do all values, and no page is met twice.

    Keys and values themselves are not looked at. The file is one that LMDB has opened.

    Raises:
        ReadingError: if that is not so.
    """
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            _follow(content, _newest(content))
        except ReadingError:
            raise
        except (struct.error, IndexError, ValueError) as error:
            raise ReadingError(f"is damaged ({error})") from None


def _newest(content: mmap.mmap) -> _Tree:
    """Of the two descriptions the one that LMDB takes."""
    first = _Tree(*_DESCRIPTION.unpack_from(content, 0))
    second = _Tree(*_DESCRIPTION.unpack_from(content, first.page_size))
    return second if first.transaction < second.transaction else first


def _follow(content: mmap.mmap, tree: _Tree) -> None:
    if tree.root == _NONE:
        return
    _require(0 < tree.depth <= _DEEPEST and not tree.flags, "its tree is too deep, or of another kind")
    level = np.array([tree.root], np.uint64)
    for _ in range(tree.depth - 1):
        level = np.concatenate([_children(page) for page in _pages(content, tree, level, _BRANCH)])
        _require(len(np.unique(level)) == len(level), "two branches lead to one page")
    for page in _pages(content, tree, level, _LEAF):
        _check_values(page, tree)


def _pages(content: mmap.mmap, tree: _Tree, numbers: np.ndarray, kind: int) -> Iterator[np.ndarray]:
    """uint8 [page size] each."""
    _require(numbers.min() >= 2 and numbers.max() <= tree.last_page, "it points to pages outside of it")
    for number in numbers.tolist():
        start = number * tree.page_size
        page = np.frombuffer(content[start : start + tree.page_size], np.uint8)
        _require(int(_words(page)[5]) & _KINDS == kind, f"page {number} is of another kind")
        yield page


def _children(branch: np.ndarray) -> np.ndarray:
    """Numbers of pages, uint64."""
    starts, (low, high, higher, key) = _nodes(branch, least=2)
    _require((starts + 8 + key).max() <= len(branch), "a key is longer than its page")
    return (low | high << 16 | higher << 32).astype(np.uint64)


def _check_values(leaf: np.ndarray, tree: _Tree) -> None:
    starts, (low, high, flags, key) = _nodes(leaf, least=1)
    sizes, ends, elsewhere = low | high << 16, starts + 8 + key, flags == _ELSEWHERE
    _require((flags[~elsewhere] == 0).all(), "it holds more than keys and values")
    _require((ends + np.where(elsewhere, 8, sizes)).max() <= len(leaf), "a value is longer than its page")
    if elsewhere.any():
        first = leaf[ends[elsewhere, None] + np.arange(8)].view("<u8")[:, 0]
        _require(first.min() >= 2 and first.max() <= tree.last_page, "it points to pages outside of it")
        room = (tree.last_page + 1 - first.astype(np.int64)) * tree.page_size
        _require((_HEADER + sizes[elsewhere] <= room).all(), "a value is longer than the file")


def _nodes(page: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Where nodes begin, int64 [N], and the four numbers that each begins with, int64 [4, N]."""
    lower = int(_words(page)[6])
    _require(_HEADER + 2 * least <= lower <= len(page), "a page has too few nodes, or too many")
    starts = _words(page)[_HEADER // 2 : lower // 2].astype(np.int64)
    _require(starts.min() >= lower and starts.max() + 8 <= len(page) and not (starts % 2).any(), "a node is misplaced")
    return starts, _words(page)[starts // 2 + np.arange(4)[:, None]].astype(np.int64)


def _words(page: np.ndarray) -> np.ndarray:
    return page.view("<u2")


def _require(holds: bool | np.bool_, otherwise: str) -> None:
    if not holds:
        raise ReadingError(f"is damaged: {otherwise}")
