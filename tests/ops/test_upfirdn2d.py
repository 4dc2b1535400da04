import itertools

import numpy as np
import pytest
import scipy.signal
import torch

import ops
from ops.upfirdn2d import branch_filtered

DTYPES = {torch.float64: 1e-13, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
SMOOTH = [1.0, 3.0, 3.0, 1.0]
LOPSIDED = [1.0, -2.0, 0.5, 4.0, 3.0]
# up, down, padding: those of the networks, and odd ones
SETTINGS = [
    (1, 1, (1, 1)),
    (2, 1, (2, 1)),
    (1, 2, (1, 1)),
    (1, 1, (2, 2)),
    (3, 2, (4, 1)),
    (2, 4, (3, 3)),
    ((2, 1), (1, 3), (1, 2, 4, 3)),
    ((1, 3), (2, 1), (-1, 3, 2, -2)),
    ((4, 2), (1, 2), (0, -3, -1, 6)),
    (1, 1, -1),
]


def normal(*shape, device="cpu", dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)


def sides(padding):
    padding = (padding,) if isinstance(padding, int) else padding
    return tuple(padding) * (4 // len(padding))


def pair(factor):
    return (factor, factor) if isinstance(factor, int) else factor


def by_scipy(x, taps, up, down, padding, axis):
    """One axis by scipy: its result starts where the filter touches the first sample, as with taps - 1 zeros before."""
    before, after = sides(padding)[2 * axis : 2 * axis + 2]
    up, down = pair(up)[axis], pair(down)[axis]
    full = scipy.signal.upfirdn(taps, x, up, 1, axis=2 + axis)
    count = (x.shape[2 + axis] * up + before + after - len(taps)) // down + 1
    positions = np.arange(count) * down + len(taps) - 1 - before
    inside = (positions >= 0) & (positions < full.shape[2 + axis])
    picked = np.take(full, np.where(inside, positions, 0), axis=2 + axis)
    return picked * (inside[:, None] if axis == 0 else inside)


def by_loops(x, kernel, up, down, padding, flip):
    """Follow the definition literally: insert zeros, pad or crop, convolve, keep every down-th."""
    (up_y, up_x), (down_y, down_x), (top, bottom, left, right) = pair(up), pair(down), sides(padding)
    spread = np.zeros((*x.shape[:2], x.shape[2] * up_y, x.shape[3] * up_x))
    spread[:, :, ::up_y, ::up_x] = x
    spread = np.pad(spread, [(0, 0), (0, 0), (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0))])
    spread = spread[:, :, max(-top, 0) : spread.shape[2] - max(-bottom, 0)]
    spread = spread[:, :, :, max(-left, 0) : spread.shape[3] - max(-right, 0)]
    kernel = kernel if flip else kernel[::-1, ::-1]
    height, width = kernel.shape
    rows = range(0, spread.shape[2] - height + 1, down_y)
    columns = range(0, spread.shape[3] - width + 1, down_x)
    out = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        out[:, :, i, j] = (spread[:, :, row : row + height, column : column + width] * kernel).sum((2, 3))
    return out


@pytest.mark.parametrize("taps", [SMOOTH, LOPSIDED, [2.0], [1.0, -1.0]], ids=len)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_separable_filter_against_scipy(device, setting, taps):
    x = normal(2, 3, 9, 8)
    up, down, padding = setting
    out = ops.upfirdn2d(x.to(device), torch.tensor(taps, device=device), up=up, down=down, padding=padding, gain=-0.5)
    expected = by_scipy(by_scipy(x.numpy(), taps, up, down, padding, 0), taps, up, down, padding, 1)
    np.testing.assert_allclose(out.cpu().numpy(), -0.5 * expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(4, 4), (1, 3), (5, 2)], ids=str)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("flip", [False, True])
def test_full_filter_against_loops(device, setting, size, flip):
    x, kernel = normal(2, 3, 9, 8), normal(*size, seed=1)
    up, down, padding = setting
    out = ops.upfirdn2d(x.to(device), kernel.to(device), up=up, down=down, padding=padding, flip=flip, gain=2.0)
    expected = 2 * by_loops(x.numpy(), kernel.numpy(), up, down, padding, flip)
    np.testing.assert_allclose(out.cpu().numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("flip", [False, True])
def test_separable_filter_is_the_outer_product(device, setting, flip):
    x, taps = normal(2, 3, 9, 8, device=device), torch.tensor(LOPSIDED, device=device, dtype=torch.float64)
    options = dict(zip(["up", "down", "padding"], setting, strict=True), flip=flip, gain=3.0)
    separable, full = ops.upfirdn2d(x, taps, **options), ops.upfirdn2d(x, torch.outer(taps, taps), **options)
    torch.testing.assert_close(separable, full, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced", "expanded"])
@pytest.mark.parametrize("setting", SETTINGS[:6], ids=str)
def test_every_dtype_and_layout(device, dtype, layout, setting):
    x = normal(3, 5, 8, 16, device=device, dtype=dtype)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    elif layout == "sliced":
        x = x[:, :, :, ::2]
    elif layout == "expanded":
        x = x[:1].expand(x.shape)
    up, down, padding = setting
    taps = torch.tensor(SMOOTH, device=device) / 8
    out = ops.upfirdn2d(x, taps, up=up, down=down, padding=padding, gain=4.0)
    wide = ops.upfirdn2d(x.double().contiguous(), taps.double(), up=up, down=down, padding=padding, gain=4.0)
    last = layout == "channels_last"
    assert out.dtype == dtype
    assert out.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    torch.testing.assert_close(out.double(), wide, rtol=DTYPES[dtype], atol=DTYPES[dtype])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("setting", SETTINGS[:4], ids=str)
def test_large_enough_for_several_threads(device, layout, setting):
    x = normal(2, 5, 131, 129, device=device).contiguous(memory_format=layout)
    up, down, padding = setting
    out = ops.upfirdn2d(x, torch.tensor(SMOOTH, device=device), up=up, down=down, padding=padding)
    expected = by_scipy(by_scipy(x.cpu().numpy(), SMOOTH, up, down, padding, 0), SMOOTH, up, down, padding, 1)
    np.testing.assert_allclose(out.cpu().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_values_outside_the_window_do_not_leak(device):
    x = torch.zeros(1, 1, 6, 6, device=device)
    x[0, 0, 0, 0] = torch.inf
    out = ops.upfirdn2d(x, torch.tensor(SMOOTH, device=device), padding=(2, 1))
    assert out[0, 0, 3:].isfinite().all()
    assert out[0, 0, :, 3:].isfinite().all()


@pytest.mark.parametrize("kernel", [torch.tensor(LOPSIDED), normal(3, 2, seed=1)], ids=["separable", "full"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_first_and_second_gradients(device, setting, kernel):
    up, down, padding = setting

    def apply(x):
        return ops.upfirdn2d(x, kernel.to(device), up=up, down=down, padding=padding, gain=0.5)

    x = normal(1, 1, 9, 8, device=device).requires_grad_()
    assert torch.autograd.gradcheck(apply, x, atol=1e-8, rtol=1e-7, fast_mode=True)
    assert torch.autograd.gradgradcheck(apply, x, atol=1e-8, rtol=1e-7, fast_mode=True)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_gradient_is_the_transposed_operator(device, setting):
    """<A x, y> = <x, A' y>, and A is linear, so that the gradient of the gradient with respect to y is A again."""
    x = normal(2, 3, 9, 8, device=device).requires_grad_()
    up, down, padding = setting
    out = ops.upfirdn2d(x, torch.tensor(LOPSIDED, device=device), up=up, down=down, padding=padding)
    y = normal(*out.shape, device=device, seed=1).requires_grad_()
    (transposed,) = torch.autograd.grad(out, x, y, create_graph=True)
    (again,) = torch.autograd.grad(transposed, y, x)
    torch.testing.assert_close((out * y).sum(), (x * transposed).sum(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(again, out, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layouts", list(itertools.product(["contiguous", "channels_last"], repeat=2)), ids=str)
@pytest.mark.parametrize("setting", SETTINGS[:5], ids=str)
def test_addend(device, dtype, layouts, setting):
    x, addend = normal(2, 8, 9, 8, device=device, dtype=dtype), None
    taps, options = torch.tensor(SMOOTH, device=device) / 8, dict(zip(["up", "down", "padding"], setting, strict=True))
    formats = [getattr(torch, f"{layout}_format" if layout == "contiguous" else layout) for layout in layouts]
    filtered = ops.upfirdn2d(x.double(), taps.double(), **options)
    addend = normal(*filtered.shape, device=device, dtype=dtype, seed=1).contiguous(memory_format=formats[1])
    before = addend.clone()
    out = ops.upfirdn2d(x.contiguous(memory_format=formats[0]), taps, **options, addend=addend)
    assert out.dtype == dtype
    assert out.is_contiguous(memory_format=formats[0])
    assert torch.equal(addend, before)
    torch.testing.assert_close(out.double(), filtered + addend, rtol=2 * DTYPES[dtype], atol=2 * DTYPES[dtype])


def test_first_and_second_gradients_with_an_addend(device):
    def apply(x, addend):
        return ops.upfirdn2d(x, torch.tensor(SMOOTH, device=device), up=2, padding=(2, 1), addend=addend) ** 2

    inputs = [normal(1, 2, *size, device=device).requires_grad_() for size in [(3, 4), (6, 8)]]
    assert torch.autograd.gradcheck(apply, inputs, atol=1e-8, rtol=1e-7, fast_mode=True)
    assert torch.autograd.gradgradcheck(apply, inputs, atol=1e-7, rtol=1e-7, fast_mode=True)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("setting", SETTINGS[:4], ids=str)
def test_branch_is_two_uses_of_x(device, layout, setting):
    taps, options = torch.tensor(SMOOTH, device=device), dict(zip(["up", "down", "padding"], setting, strict=True))

    def branched(x):
        same, filtered = branch_filtered(x, taps, **options)
        return same**3, filtered**2

    def twice(x):
        return x**3, ops.upfirdn2d(x, taps, **options) ** 2

    x = normal(2, 2, 4, 6, device=device).contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(branched, x, atol=1e-7, rtol=1e-6, fast_mode=True)
    assert torch.autograd.gradgradcheck(branched, x, atol=1e-6, rtol=1e-6, fast_mode=True)
    for used in ([0], [1], [0, 1]):
        results = []
        for function in (branched, twice):
            outputs = function(x)
            (gradient,) = torch.autograd.grad(sum(outputs[i].sum() for i in used), x, create_graph=True)
            results.append([*outputs, gradient, *torch.autograd.grad((gradient**2).sum(), x)])
        torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_branch_copies_nothing_and_adds_nothing(device):
    x = normal(2, 2, 4, 6, device=device).requires_grad_()
    taps = torch.tensor(SMOOTH, device=device, dtype=x.dtype)
    same, filtered = branch_filtered(x, taps, down=2, padding=1)
    assert same.data_ptr() == x.data_ptr()
    grads = torch.ones_like(same), torch.ones_like(filtered)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch.autograd.grad([same, filtered], x, grads)
    names = [event.name for event in profile.events()]
    assert names.count("semantic_gan::upfirdn2d") == 1
    assert "aten::add" not in names


def test_branch_compiles_as_one_graph(device):
    taps = torch.tensor(SMOOTH, device=device)

    def apply(x):
        same, filtered = branch_filtered(x, taps, down=2, padding=1)
        return (same**2).sum() + (filtered**3).sum()

    compiled = torch.compile(apply, backend="aot_eager", fullgraph=True)
    x = normal(2, 3, 6, 6, device=device).requires_grad_()
    torch.testing.assert_close(compiled(x), apply(x))
    torch.testing.assert_close(torch.autograd.grad(compiled(x), x), torch.autograd.grad(apply(x), x))


def test_empty_batch(device):
    x = torch.empty(0, 3, 4, 4, device=device, requires_grad=True)
    out = ops.upfirdn2d(x, torch.tensor(SMOOTH, device=device), up=2, padding=(2, 1))
    assert out.shape == (0, 3, 8, 8)
    assert torch.autograd.grad(out.sum(), x)[0].shape == x.shape


@pytest.mark.parametrize("kernel", [torch.tensor(SMOOTH), normal(3, 2, seed=1)], ids=["separable", "full"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_registration_is_sound(device, kernel, layout):
    x = normal(2, 3, 5, 4, device=device).contiguous(memory_format=layout).requires_grad_()
    arguments = (x, kernel.to(device, torch.float64), [2, 1], [1, 3], [2, 1, 3, -1], False, 1.5, None)
    torch.library.opcheck(torch.ops.semantic_gan.upfirdn2d.default, arguments)
    addend = torch.ops.semantic_gan.upfirdn2d(*arguments).detach().clone().requires_grad_()
    torch.library.opcheck(torch.ops.semantic_gan.upfirdn2d.default, (*arguments[:-1], addend))


def test_compiles_as_one_graph_for_any_size(device):
    taps = torch.tensor(SMOOTH, device=device)

    def apply(x):
        return ops.upfirdn2d(x, taps, down=2, padding=1) + 1

    compiled = torch.compile(apply, backend="aot_eager", fullgraph=True, dynamic=True)
    for size in (6, 9):
        x = normal(2, 3, size, size, device=device).requires_grad_()
        torch.testing.assert_close(compiled(x), apply(x))
        torch.testing.assert_close(torch.autograd.grad(compiled(x).sum(), x), torch.autograd.grad(apply(x).sum(), x))


@pytest.mark.parametrize("size", [(1, 4), (4, 1), (1, 1)], ids=str)
def test_single_rows_and_columns_keep_their_layout(device, size):
    x = normal(2, 3, *size, device=device).contiguous(memory_format=torch.channels_last)
    arguments = ([2, 2], [1, 4], [2, 1, 2, 1], False, 1.0, None)
    out = torch.ops.semantic_gan.upfirdn2d(x, torch.tensor(SMOOTH, device=device), *arguments)
    fake = torch.ops.semantic_gan.upfirdn2d(x.to("meta"), torch.empty(4, device="meta"), *arguments)
    assert out.stride() == fake.stride()


@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        (torch.ones(3, 4, 4), torch.ones(4), {}, r"\[N, C, H, W\]"),
        (torch.ones(1, 1, 4, 4, dtype=torch.int64), torch.ones(4), {}, "floating point"),
        (torch.ones(1, 1, 4, 4), torch.ones(1, 4, 4), {}, "filter must be"),
        (torch.ones(1, 1, 4, 4), torch.ones(0), {}, "filter must be"),
        (torch.ones(1, 1, 4, 4), torch.ones(4, requires_grad=True), {}, "constant"),
        (torch.ones(1, 1, 4, 4), torch.ones(4, device="meta"), {}, "filter is on meta and x on cpu"),
        (torch.ones(1, 1, 4, 4), torch.ones(5), {}, "would be empty"),
        (torch.ones(1, 1, 4, 4), torch.ones(4), {"padding": -1}, "would be empty"),
        (torch.ones(1, 1, 4, 4), torch.ones(4), {"addend": torch.ones(1, 1, 4, 4)}, r"addend must be .*\[1, 1, 1, 1\]"),
        (torch.ones(1, 1, 4, 4), torch.ones(4), {"addend": torch.ones(1, 1, 1, 1).half()}, "addend must be"),
        (torch.ones(1, 1, 4, 4), torch.ones(4), {"up": 0}, "up must be a factor >= 1"),
        (torch.ones(1, 1, 4, 4), torch.ones(4), {"down": (1, 2, 3)}, "down must be a factor >= 1"),
        (torch.ones(1, 1, 4, 4), torch.ones(4), {"padding": (1, 2, 3)}, "padding must be"),
    ],
)
def test_bad_arguments(x, kernel, options, message):
    with pytest.raises(ValueError, match=message):
        ops.upfirdn2d(x, kernel, **options)
