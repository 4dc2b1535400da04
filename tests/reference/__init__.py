"""Literal versions of the networks and operators in plain PyTorch, with which the fast code must agree."""
