"""Choices that options of editing commands have. No PyTorch here: parsing a command line must not load it."""

from typing import Literal, get_args

CodeKind = Literal["shape", "texture", "both"]
Arc = Literal["linear", "spherical"]  # curves between two codes
Curve = Literal[Arc, "spline"]  # curves through many codes
Attribute = Literal["area", "height", "present"]  # properties of a part's mask, see `editing.direction_search`
CODE_KINDS: tuple[CodeKind, ...] = get_args(CodeKind)
CURVES: tuple[Curve, ...] = get_args(Curve)
ATTRIBUTE_NAMES: tuple[Attribute, ...] = get_args(Attribute)
