"""Runs every test that takes `device` with the references and with the compiled kernels, on the CPU and on a GPU."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

import ops
from ops._common import NAMESPACE
from ops.bias_act import reference as bias_act_reference
from ops.bias_act import reference_gradients as bias_act_backward_reference
from ops.upfirdn2d import reference as upfirdn2d_reference

REFERENCES = {
    "bias_act": bias_act_reference,
    "bias_act_backward": bias_act_backward_reference,
    "upfirdn2d": upfirdn2d_reference,
}
DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
BACKENDS = [(backend, device) for device in DEVICES for backend in ("native", "compiled")]


@contextmanager
def references_on(device: str) -> Iterator[None]:
    """Lay the references over the kernels that another test may have loaded: libraries cannot be unloaded."""
    library = torch.library.Library(NAMESPACE, "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, reference in REFERENCES.items():
            library.impl(name, reference, device.upper())
    yield
    del library


@pytest.fixture(params=BACKENDS, ids=["-".join(backend) for backend in BACKENDS])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    backend, device = request.param
    if backend == "native":
        with references_on(device):
            yield device
        return
    try:
        ops.load_compiled(device)
    except ops.OpsUnavailable as error:
        pytest.skip(str(error))
    yield device
