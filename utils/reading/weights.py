"""State dicts of files, held against the networks that they are for."""

from collections.abc import Mapping

from torch import Tensor, nn

from utils.errors import ReadingError
from utils.reading.names import label


def check_shapes(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Before anything is made of the sizes that a file tells: `module` may be on the meta device.

    Raises:
        ReadingError: if a tensor is missing, unknown, of another shape, or of integers where floats belong; the
            message names one.
    """
    own = module.state_dict()
    for name in [*own, *state]:
        if name not in state or name not in own or state[name].shape != own[name].shape:
            theirs, ours = ("absent" if name not in s else list(s[name].shape) for s in (state, own))
            raise ReadingError(f"is of another architecture: {label(name)} is {theirs} there, {ours} here")
        if own[name].is_floating_point() != state[name].is_floating_point() or state[name].is_complex():
            raise ReadingError(f"is damaged: {name} holds {state[name].dtype}")


def check_finite(state: Mapping[str, Tensor]) -> None:
    """Raises ReadingError if a number is not; the message names its tensor."""
    for name, value in state.items():
        if not value.isfinite().all():
            problem = f"{name} holds numbers that are not finite (NaN or infinity)"
            raise ReadingError(f"is damaged: {problem}; choose an earlier checkpoint")
