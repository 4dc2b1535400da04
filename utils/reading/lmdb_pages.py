"""Check of the B+ tree in an LMDB file. The LMDB library trusts the tree, so one wrong byte can crash the process.

The format is that of LMDB 0.9 on 64-bit machines (lmdb.h, mdb.c). A page begins with a header of 16 bytes. In branch
and leaf pages, a list of the offsets of the page's nodes follows (uint16), which ends at the offset `lower` that the
header gives. A node consists of four uint16 (lo, hi, flags, length of the key) and the key; in leaf pages, the value
follows, or for a long value the number of its first page. Shapes: N nodes.
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
_TYPE_FLAGS = ~0x10  # mask for all flags of a page except P_DIRTY, "not written yet"
_BIG_VALUE = 0x01  # flag of a node whose value is stored in overflow pages
_NO_ROOT = 2**64 - 1  # root of an empty tree
_MAX_DEPTH = 32


class _Tree(NamedTuple):
    """Description of the tree in a meta page. The first two pages of the file are meta pages."""

    page_size: int
    flags: int  # 0 for a tree of plain keys and values
    depth: int  # number of levels
    root: int  # page number
    last_page: int  # page number
    transaction: int  # number of the transaction that wrote the meta page


_META = struct.Struct("<40x I 44x 4x H H 32x Q Q Q")


def check_pages(file: Path) -> None:
    """Raise ReadingError if a page or value of the tree is outside the file, or two branches lead to one page.

    The contents of keys and values are not checked. The caller must have opened the file with LMDB, which checks the
    meta pages.
    """
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            _check_tree(content, _newest_meta(content))
        except ReadingError:
            raise
        except (struct.error, IndexError, ValueError) as error:
            raise ReadingError(f"is damaged ({error})") from None


def _newest_meta(content: mmap.mmap) -> _Tree:
    """Return the meta page of the later transaction, which is the one that LMDB uses."""
    first = _Tree(*_META.unpack_from(content, 0))
    second = _Tree(*_META.unpack_from(content, first.page_size))
    return second if first.transaction < second.transaction else first


def _check_tree(content: mmap.mmap, tree: _Tree) -> None:
    if tree.root == _NO_ROOT:
        return
    _require(0 < tree.depth <= _MAX_DEPTH and not tree.flags, "its tree is too deep or of an unsupported kind")
    level = np.array([tree.root], np.uint64)
    for _ in range(tree.depth - 1):
        level = np.concatenate([_children(page) for page in _pages(content, tree, level, _BRANCH)])
        _require(len(np.unique(level)) == len(level), "two branches lead to one page")
    for page in _pages(content, tree, level, _LEAF):
        _check_leaf(page, tree)


def _pages(content: mmap.mmap, tree: _Tree, numbers: np.ndarray, kind: int) -> Iterator[np.ndarray]:
    """Yield the pages with these numbers, each uint8 [page size]; check that they are in the file and of this kind."""
    _require(numbers.min() >= 2 and numbers.max() <= tree.last_page, "it points to pages outside the file")
    for number in numbers.tolist():
        start = number * tree.page_size
        page = np.frombuffer(content[start : start + tree.page_size], np.uint8)
        _require(int(_words(page)[5]) & _TYPE_FLAGS == kind, f"page {number} has the wrong type")
        yield page


def _children(branch: np.ndarray) -> np.ndarray:
    """Return the numbers of the pages that a branch page points to, uint64 [N]."""
    starts, (low, high, higher, key) = _nodes(branch, least=2)
    _require((starts + 8 + key).max() <= len(branch), "a key is longer than its page")
    return (low | high << 16 | higher << 32).astype(np.uint64)


def _check_leaf(leaf: np.ndarray, tree: _Tree) -> None:
    starts, (low, high, flags, key) = _nodes(leaf, least=1)
    sizes, ends, is_big = low | high << 16, starts + 8 + key, flags == _BIG_VALUE
    _require((flags[~is_big] == 0).all(), "it contains more than keys and values")
    _require((ends + np.where(is_big, 8, sizes)).max() <= len(leaf), "a value is longer than its page")
    if is_big.any():
        first = leaf[ends[is_big, None] + np.arange(8)].view("<u8")[:, 0]
        _require(first.min() >= 2 and first.max() <= tree.last_page, "it points to pages outside the file")
        room = (tree.last_page + 1 - first.astype(np.int64)) * tree.page_size
        _require((_HEADER + sizes[is_big] <= room).all(), "a value is longer than the file")


def _nodes(page: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the offsets of a page's nodes, int64 [N], and the four numbers at the start of each node, int64 [4, N]."""
    lower = int(_words(page)[6])
    _require(_HEADER + 2 * least <= lower <= len(page), "a page has too few nodes or too many")
    starts = _words(page)[_HEADER // 2 : lower // 2].astype(np.int64)
    _require(starts.min() >= lower and starts.max() + 8 <= len(page) and not (starts % 2).any(), "a node is misplaced")
    return starts, _words(page)[starts // 2 + np.arange(4)[:, None]].astype(np.int64)


def _words(page: np.ndarray) -> np.ndarray:
    return page.view("<u2")


def _require(condition: bool | np.bool_, problem: str) -> None:
    if not condition:
        raise ReadingError(f"is damaged: {problem}")
