"""The fast path equals plain torch: values and gradients, of convolutions in parts, of elementwise
mathematics, and of the ConvLSTM cell made of both; over shapes, dtypes, beginnings and passes.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from foreframe.models import ConvLSTMCell, engine, preset
from foreframe.models.convlstm import PRESETS
from foreframe.models.engine import convolutions, elementwise, one_pass, packed

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    ),
]


@pytest.fixture(autouse=True)
def exact_matrix_products():
    """On CUDA float32 convolutions may otherwise round to ten bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    """Maps and convolutions here would all be, and run as they are written."""
    monkeypatch.setattr(elementwise, "SMALL", 0)
    monkeypatch.setattr(convolutions, "FEW", 0)


@pytest.fixture
def compiler():
    if why := engine.why_not_compiled("cpu"):
        pytest.skip(why)


def pixelwise(x: Tensor, y: Tensor, weight: Tensor | None, factor: float) -> tuple[Tensor, Tensor]:
    """Maps of different widths and dtypes, a weight a channel, a number."""
    a, b = x.to(y.dtype).chunk(2, dim=1)
    total = torch.exp(-a.square()) * y + factor * b
    return (total if weight is None else total * weight).to(x.dtype), engine.tanh(b)


@pytest.mark.parametrize(
    ("block", "which", "weighted"),
    [(2**18, (0, 1), True), (2**18, (1,), False), (24, (0,), True), (24, (1,), False)],
)
def test_elementwise_mathematics(block, which, weighted, monkeypatch) -> None:
    """The function itself, and within a pass, with gradients of either output or both."""
    monkeypatch.setattr(elementwise, "BLOCK", block)
    torch.manual_seed(0)
    x = torch.randn(2, 6, 4, 5, requires_grad=True)
    y = torch.randn(2, 3, 4, 5, dtype=torch.double, requires_grad=True)
    weight = torch.randn(3, 1, 1, requires_grad=True) if weighted else None
    learnt = [tensor for tensor in (x, y, weight) if tensor is not None]
    wrapped, theirs = engine.pointwise(pixelwise), pixelwise(x, y, weight, 0.5)
    with one_pass(x, False):
        ours = wrapped(x, y, weight, 0.5)
        with torch.no_grad():
            unrecorded = wrapped(x, y, weight, 0.5)
    gained = [
        torch.autograd.grad(
            sum(out[n].square().sum() for n in which), learnt, materialize_grads=True
        )
        for out in (ours, theirs)
    ]
    # Equal in dtype, too.
    for out in (ours, unrecorded, wrapped(x, y, weight, 0.5)):
        torch.testing.assert_close(out, theirs)
    torch.testing.assert_close(*gained)


def test_a_cell_compiles_itself_once_that_pays(monkeypatch) -> None:
    """After so many values, where it may; not on small maps, which are faster as they are."""
    monkeypatch.setattr(elementwise, "SMALL", 200)
    monkeypatch.setattr(elementwise, "PAYS", 2000)
    monkeypatch.setattr(elementwise, "compiles", lambda device: True)
    built: list[bool] = []

    class Ways(elementwise._Ways):
        def __init__(self, function, compiled: bool) -> None:
            built.append(compiled)
            super().__init__(function, False)

    monkeypatch.setattr(elementwise, "_Ways", Ways)
    double = engine.pointwise(lambda x: 2 * x)
    large, small = torch.rand(1, 4, 10, 10), torch.rand(1, 4, 5, 5)
    for _ in range(99):
        with one_pass(small):
            double(small)
    for compiled in (False, None):
        with one_pass(large, compiled):
            for _ in range(4):
                double(large)
    assert built == [False]
    with one_pass(large):
        torch.testing.assert_close(double(large), 2 * large)
    assert built == [False, True]


def plain_cell(
    cell: ConvLSTMCell, x: Tensor | None, h: Tensor | None, c: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The paper's equations with torch's own convolution and tanh, of a cell's parameters."""
    given = x if h is None else h
    zeros = given.new_zeros(given.shape[0], cell.hidden, *given.shape[2:])
    h, c = zeros if h is None else h, zeros if c is None else c
    v = h if cell.gates.in_channels == cell.hidden else torch.cat([x, h], dim=1)
    gates = F.conv2d(v, cell.gates.weight, cell.gates.bias, padding=cell.gates.padding)
    i, f, o, g = gates.chunk(4, dim=1)
    W_ci, W_cf, W_co = (0, 0, 0) if cell.peephole is None else cell.peephole
    i, f = torch.sigmoid(i + W_ci * c), torch.sigmoid(f + W_cf * c + cell.forget_bias)
    c = f * c + i * torch.tanh(g)
    return torch.sigmoid(o + W_co * c) * torch.tanh(c), c


def ran(step, xs: list[Tensor | None], h: Tensor | None, c: Tensor | None, run=None) -> Tensor:
    """Every hidden map and the last cell state, in a row of numbers."""
    out = []
    with run or nullcontext():
        for x in xs:
            h, c = step(x, h, c)
            out.append(h.flatten().to(c.dtype))
    return torch.cat([*out, c.flatten()])


def gradients(output: Tensor, of: list[Tensor], **how) -> list[Tensor]:
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype, device=output.device)
    return list(
        torch.autograd.grad((output.flatten() * weights).sum() + output.square().mean(), of, **how)
    )


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Relative, in the norm: rounding of a small value beside large ones counts little, and that of
    a gradient which is next to nothing, because terms cancel out, counts by what these may be.
    """
    scale = max(theirs.double().norm().item(), 1e-3)
    return (ours.double() - theirs.double()).norm().item() / scale


@pytest.mark.parametrize("device", DEVICES)
@given(
    b=st.integers(1, 3), t=st.integers(1, 4), d=st.integers(0, 4), k=st.integers(1, 6),
    h=st.integers(1, 9), w=st.integers(1, 9), kernel=st.sampled_from([1, 3, 5, (1, 3), (5, 3)]),
    bias=st.booleans(), peepholes=st.booleans(), begun=st.booleans(),
    kind=st.sampled_from([torch.float32, torch.float64]), block=st.sampled_from([1, 60, 2**18]),
    at_once=st.sampled_from([1, 60, 2**14]), few=st.sampled_from([0, 2**17]),
)  # fmt: skip
@example(1, 1, 1, 1, 1, 1, 3, True, True, False, torch.float32, 1, 1, 0)
@settings(deadline=None, max_examples=15)
def test_values_and_gradients(
    device, b, t, d, k, h, w, kernel, bias, peepholes, begun, kind, block, at_once, few
) -> None:
    torch.manual_seed(0)
    cell = ConvLSTMCell(d, k, kernel, bias, peepholes, forget_bias=0.5).to(device, kind)
    if peepholes:
        torch.nn.init.normal_(cell.peephole)
    xs = [
        torch.randn(b, d, h, w, dtype=kind, device=device, requires_grad=True) if d else None
        for _ in range(t)
    ]
    start = [
        torch.randn(b, k, h, w, dtype=kind, device=device, requires_grad=True) for _ in range(2)
    ]
    begun = begun or not d
    learnt = [*cell.parameters(), *(x for x in xs if x is not None), *(start if begun else [])]
    state = start if begun else (None, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elementwise, "BLOCK", block)
        patch.setattr(convolutions, "GATHERED", at_once)
        patch.setattr(convolutions, "FEW", few)
        theirs = ran(lambda *given: plain_cell(cell, *given), xs, *state)
        runs = [ran(cell, xs, *state, one_pass(start[0])), ran(cell, xs, *state)]
        expected, *computed = (gradients(run, learnt) for run in (theirs, *runs))
        with torch.no_grad():
            unrecorded = ran(cell, xs, *state, one_pass(start[0]))
    torch.testing.assert_close(unrecorded, runs[0], atol=1e-6, rtol=1e-6)
    for run, gained in zip(runs, computed, strict=True):
        torch.testing.assert_close(run, theirs, atol=1e-5, rtol=1e-5)
        for ours, wanted in zip(gained, expected, strict=True):
            assert ours.dtype == wanted.dtype
            assert distance(ours, wanted) < 1e-5


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("few", [0, 2**17])
@pytest.mark.parametrize(("t", "d", "k", "peepholes"), [(1, 1, 4, False), (5, 5, 20, True)])
def test_bfloat16(device, t, d, k, peepholes, few, monkeypatch) -> None:
    """Under autocast, against the plain cell in float32 with its weights and inputs rounded."""
    monkeypatch.setattr(convolutions, "FEW", few)
    torch.manual_seed(0)
    cell = ConvLSTMCell(d, k, peepholes=peepholes).to(device)
    with torch.no_grad():
        for parameter in cell.gates.parameters():
            parameter.copy_(parameter.bfloat16())
    xs = torch.randn(t, 3, d, 9, 9, device=device).bfloat16().float().requires_grad_()
    learnt = [*cell.gates.parameters(), xs]
    with torch.autocast(device, torch.bfloat16):
        ours = ran(cell, [*xs], None, None, one_pass(xs))
    theirs = ran(lambda *given: plain_cell(cell, *given), [*xs], None, None)
    assert distance(ours, theirs) < 1e-2
    pairs = (torch.autograd.grad(output.square().sum(), learnt) for output in (ours, theirs))
    for a, b in zip(*pairs, strict=True):
        assert a.dtype == torch.float32
        assert distance(a, b) < 1e-2


@pytest.mark.parametrize("run", [one_pass, lambda like: nullcontext()], ids=["pass", "plain"])
def test_the_state_stays_wide_in_bfloat16(run) -> None:
    """A cell state that gains less than bfloat16 can hold still gains."""
    cell = ConvLSTMCell(1, 1)
    for parameter in cell.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        # Forget nothing, add half of tanh(0.004)
        cell.gates.bias.copy_(torch.tensor([0.0, 20.0, 0.0, 0.004]))
        c = torch.ones(1, 1, 2, 2)
        h = torch.zeros(1, 1, 2, 2)
        with torch.autocast("cpu", torch.bfloat16), run(c):
            for _ in range(100):
                h, c = cell(torch.zeros(1, 1, 2, 2), h, c)
    assert h.dtype == torch.bfloat16
    assert c.dtype == torch.float32
    torch.testing.assert_close(c, torch.full_like(c, 1.2), atol=0.002, rtol=0)


@given(
    widths=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    absent=st.integers(-1, 3),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    needed=st.integers(0, 15),
)
@settings(deadline=None, max_examples=20)
def test_a_convolution_in_parts(widths, absent, stride, dilation, needed) -> None:
    """Any number of parts, one of them zeros, only some of which need gradients."""
    torch.manual_seed(0)
    conv = engine.Conv2d(sum(widths), 3, 3, stride, 2, dilation).double()
    parts = [
        torch.randn(2, d, 6, 5, dtype=torch.double, requires_grad=bool(needed >> n & 1))
        for n, d in enumerate(widths)
    ]
    given = [None if n == absent and len(parts) > 1 else part for n, part in enumerate(parts)]
    whole = torch.cat(
        [torch.zeros_like(a) if b is None else a for a, b in zip(parts, given, strict=True)], dim=1
    )
    theirs = F.conv2d(whole, conv.weight, conv.bias, stride, 2, dilation)
    learnt = [
        *conv.parameters(),
        *(part for part in given if part is not None and part.requires_grad),
    ]
    wanted = gradients(theirs, learnt)
    for run in (one_pass(whole), nullcontext()):
        with run:
            ours = conv(*given)
        torch.testing.assert_close(ours, theirs)
        for a, b in zip(gradients(ours, learnt), wanted, strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("run", [one_pass(torch.zeros(1)), nullcontext()], ids=["pass", "plain"])
def test_what_a_convolution_refuses(run) -> None:
    conv, two = engine.Conv2d(3, 2, 1), torch.zeros(1, 2, 4, 4)
    with run, pytest.raises(ValueError, match="not every part may be None"):
        conv(None, None)
    with run, pytest.raises(ValueError, match="takes 3 channels, not 2"):
        conv(two)
    with run, pytest.raises(ValueError, match="takes 3 channels, not 4"):
        conv(two, two, None)


@pytest.mark.parametrize(
    "options", [{"groups": 2}, {"padding_mode": "circular", "padding": 1}, {"padding": "same"}]
)
def test_other_convolutions_are_torchs_own(options) -> None:
    torch.manual_seed(0)
    conv = engine.Conv2d(4, 4, 3, **options)
    theirs = nn.Conv2d(4, 4, 3, **options)
    theirs.load_state_dict(conv.state_dict())
    x = torch.randn(1, 4, 6, 6)
    with one_pass(x):
        torch.testing.assert_close(conv(x[:, :1], x[:, 1:]), theirs(x))


def test_hooks_of_parameters_see_gradients_once() -> None:
    """As whatever averages gradients between processes counts on."""
    cell, x = ConvLSTMCell(1, 2), torch.randn(1, 1, 4, 4)
    seen = []
    cell.gates.weight.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
    ran(cell, [x, x, x], None, None, one_pass(x)).sum().backward()
    assert len(seen) == 1


def test_what_no_gradient_is_asked_of() -> None:
    """Gradients of inputs alone, then of all, twice through one graph: nothing is counted twice.
    Also gradients of one parameter, and of inputs if all parameters are frozen, as in fine-tuning.
    """
    cell = ConvLSTMCell(2, 3, peepholes=True)
    x = torch.randn(2, 2, 5, 5, requires_grad=True)
    ours, theirs = (
        ran(cell, [x, x], None, None, run).square().sum() for run in (one_pass(x), None)
    )
    learnt = [x, *cell.parameters()]
    alone = torch.autograd.grad(ours, [x], retain_graph=True)[0]
    for _ in range(2):
        whole = torch.autograd.grad(ours, learnt, retain_graph=True)
        for a, b in zip(whole, torch.autograd.grad(theirs, learnt, retain_graph=True), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone, whole[0])
    for n, parameter in enumerate(cell.parameters(), 1):
        one = ran(cell, [x, x], None, None, one_pass(x)).square().sum()
        torch.testing.assert_close(torch.autograd.grad(one, [parameter])[0], whole[n])
        parameter.requires_grad_(False)
    only = ran(cell, [x, x], None, None, one_pass(x)).square().sum()
    torch.testing.assert_close(torch.autograd.grad(only, [x])[0], alone)


def test_a_pass_ends() -> None:
    """The next pass has the weights that have changed since; a nested pass gives back the outer."""
    cell, x = ConvLSTMCell(1, 2), torch.randn(1, 1, 4, 4)
    outer = one_pass(x)
    with outer:
        before = cell(x, None, None)[0]
        with torch.no_grad():
            torch.testing.assert_close(cell(x, None, None)[0], before)
            cell.gates.weight.mul_(2)
        with one_pass(x), one_pass(x):
            after = cell(x, None, None)[0]
        with outer:
            torch.testing.assert_close(cell(x, None, None)[0], before)
        torch.testing.assert_close(cell(x, None, None)[0], before)
        with torch.no_grad(), one_pass(x):
            torch.testing.assert_close(cell(x, None, None)[0], after)
    torch.testing.assert_close(after, cell(x, None, None)[0])
    assert not torch.allclose(before, after)
    with pytest.raises(RuntimeError, match="stop"), one_pass(x):
        raise RuntimeError("stop")
    assert packed.current_pass.get() is None


def test_threads_share_a_network() -> None:
    """Several at once: each has its own pass, values and gradients, which no other changes."""
    torch.manual_seed(0)
    cell = ConvLSTMCell(1, 3)
    start = threading.Barrier(4)

    def work(x: Tensor) -> list[list[Tensor]]:
        start.wait()
        outputs = (ran(cell, [x] * 5, None, None, one_pass(x)) for _ in range(5))
        return [gradients(output, list(cell.parameters())) for output in outputs]

    xs = [torch.randn(n + 1, 1, 6, 6) for n in range(4)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(work, xs))
    for x, each in zip(xs, together, strict=True):
        wanted = gradients(ran(cell, [x] * 5, None, None), list(cell.parameters()))
        for computed in each:
            assert max(map(distance, computed, wanted)) < 1e-5


@contextmanager
def saved_storages() -> Iterator[dict[int, int]]:
    """Collect the bytes of what is saved for the backward pass, by their address."""
    saved: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        saved[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        yield saved


def test_only_what_goes_in_is_kept() -> None:
    """A step stores the convolution's input, gates and c, once each."""
    cell, x = ConvLSTMCell(4, 4), torch.randn(1, 4, 8, 8)
    with saved_storages() as kept, one_pass(x):
        h, c = cell(x, None, None)
        first = sum(kept.values())
        cell(x, h, c)
    assert sum(kept.values()) - first == 4 * 64 * (8 + 16 + 4)


@pytest.mark.slow
def test_compiled_cells_equal_plain_ones(compiler) -> None:
    """On a CPU: values and gradients, from nothing on, at more than one size, from few kernels."""
    torch.manual_seed(0)
    torch._dynamo.utils.counters.clear()
    cell = ConvLSTMCell(2, 5)
    for b, h, w in ((2, 6, 7), (3, 6, 7), (1, 5, 5), (1, 9, 1)):
        x = torch.randn(b, 2, h, w, requires_grad=True)
        learnt = [x, *cell.parameters()]
        ours = ran(cell, [x, x, x], None, None, one_pass(x, compiled=True))
        theirs = ran(lambda *given: plain_cell(cell, *given), [x, x, x], None, None)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        for a, b_ in zip(*(gradients(run, learnt) for run in (ours, theirs)), strict=True):
            assert distance(a, b_) < 1e-5
        with torch.no_grad():
            ran(cell, [x, x, x], None, None, one_pass(x, compiled=True))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2


@pytest.mark.usefixtures("without_types")
@pytest.mark.parametrize(
    ("name", "bf16", "compiled"),
    [
        *((name, False, False) for name in ("tutorial", "shi2015", "openstl", "quick", "guided")),
        ("tutorial", True, False),
        pytest.param("tutorial", True, True, marks=pytest.mark.slow),
    ],
)
def test_saving_memory_changes_nothing(name: str, bf16: bool, compiled: bool, request) -> None:
    """memory "save": the same forecast and gradients, for every way to step, in less memory."""
    if compiled:
        request.getfixturevalue("compiler")
    _, args = PRESETS[name]
    small = {"convlstm": {"hidden": [4] * len(args["core"]["convlstm"]["hidden"])}}
    torch.manual_seed(0)
    network = preset(name, core=small)
    network.compiled = compiled
    past, truth = torch.rand(2, 9, 1, 16, 16), torch.rand(2, 7, 1, 16, 16)
    results, kept = [], []
    for memory in ("keep", "save"):
        network.memory = memory
        network.zero_grad()
        with saved_storages() as alive, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            forecast = network(past, 7)
        kept.append(sum(alive.values()))
        (forecast - truth).square().sum().backward()
        results.append([forecast, *(p.grad for p in network.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    # Networks with more in their layers than in stem and head.
    if name in ("tutorial", "shi2015", "openstl") and not bf16:
        assert kept[1] < kept[0] / 2
