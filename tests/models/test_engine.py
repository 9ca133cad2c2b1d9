"""The fast path equals the plain cell: values and gradients, over shapes, dtypes, peepholes, beginnings, blocks and passes."""

import subprocess
import sys

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from foreframe.models import ConvLSTM, ConvLSTMCell, engine
from foreframe.models.convlstm import PRESETS

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))]


@pytest.fixture(autouse=True)
def exact_matrix_products():
    """On CUDA float32 convolutions may otherwise round to ten bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def ran(run, xs: list[Tensor | None], h: Tensor | None, c: Tensor | None) -> Tensor:
    """Every hidden map and the last cell state, in a row of numbers."""
    out = []
    for x in xs:
        h, c = run(x, h, c)
        out.append(h.flatten().to(c.dtype))
    return torch.cat([*out, c.flatten()])


def gradients(made: Tensor, of: list[Tensor]) -> list[Tensor]:
    weights = torch.linspace(-1, 1, made.numel(), dtype=made.dtype, device=made.device)
    return list(torch.autograd.grad((made * weights).sum() + made.square().mean(), of))


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Relative, in the norm: what rounding does to one small value beside large ones counts as little as it matters."""
    scale = theirs.double().norm().item()
    return (ours.double() - theirs.double()).norm().item() / (scale or 1.0)


@pytest.mark.parametrize("device", DEVICES)
@given(
    b=st.integers(1, 3), t=st.integers(1, 4), d=st.integers(0, 4), k=st.integers(1, 6), h=st.integers(1, 9), w=st.integers(1, 9),
    kernel=st.sampled_from([1, 3, 5, (1, 3), (5, 3)]), bias=st.booleans(), peepholes=st.booleans(), begun=st.booleans(),
    kind=st.sampled_from([torch.float32, torch.float64]), block=st.sampled_from([1, 7, 2**18]),
    at_once=st.sampled_from([1, 60, 2**14]),
)  # fmt: skip
@example(1, 1, 1, 1, 1, 1, 3, True, True, False, torch.float32, 1, 1)
@settings(deadline=None, max_examples=60)
def test_values_and_gradients(device, b, t, d, k, h, w, kernel, bias, peepholes, begun, kind, block, at_once) -> None:
    torch.manual_seed(0)
    cell = ConvLSTMCell(d, k, kernel, bias, peepholes, forget_bias=0.5).to(device, kind)
    if peepholes:
        torch.nn.init.normal_(cell.peephole)
    xs = [torch.randn(b, d, h, w, dtype=kind, device=device, requires_grad=True) if d else None for _ in range(t)]
    start = [torch.randn(b, k, h, w, dtype=kind, device=device, requires_grad=True) for _ in range(2)]
    begun = begun or not d
    learnt = [*cell.parameters(), *(x for x in xs if x is not None), *(start if begun else [])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "BLOCK", block)
        patch.setattr(engine, "AT_ONCE", at_once)
        made = [ran(run, xs, *(start if begun else (None, None))) for run in (engine.in_step([cell], start[0])[0], cell)]
        found = [gradients(one, learnt) for one in made]
        with torch.no_grad():
            unrecorded = ran(engine.in_step([cell], start[0])[0], xs, *(start if begun else (None, None)))
    torch.testing.assert_close(made[0], made[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(unrecorded, made[0], atol=1e-6, rtol=1e-6)
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype
        assert distance(ours, theirs) < 1e-5


@pytest.mark.parametrize("device", DEVICES)
@given(
    b=st.integers(1, 3),
    t=st.integers(1, 5),
    d=st.integers(1, 5),
    k=st.integers(4, 20),
    h=st.integers(6, 12),
    peepholes=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_bfloat16(device, b, t, d, k, h, peepholes) -> None:
    """Under autocast, against the plain cell in float32 whose weights and inputs are rounded as autocast rounds them."""
    torch.manual_seed(0)
    cell = ConvLSTMCell(d, k, peepholes=peepholes).to(device)
    with torch.no_grad():
        for one in cell.gates.parameters():
            one.copy_(one.bfloat16())
    xs = [torch.randn(b, d, h, h, device=device).bfloat16().float().requires_grad_() for _ in range(t)]
    learnt = [*cell.gates.parameters(), *xs]
    with torch.autocast(device, torch.bfloat16):
        ours = ran(engine.in_step([cell], xs[0])[0], xs, None, None)
    theirs = ran(cell, xs, None, None)
    assert distance(ours, theirs) < 1e-2
    found = (torch.autograd.grad(made.square().sum(), learnt) for made in (ours, theirs))
    for a, b_ in zip(*found, strict=True):
        assert a.dtype == torch.float32
        assert distance(a, b_) < 1e-2


def test_the_state_stays_wide_in_bfloat16() -> None:
    """A cell state that gains less than bfloat16 can hold still gains."""
    cell = ConvLSTMCell(1, 1)
    for one in cell.parameters():
        torch.nn.init.zeros_(one)
    with torch.no_grad():
        cell.gates.bias.copy_(torch.tensor([0.0, 20.0, 0.0, 0.004]))  # forget nothing, add half of tanh(0.004)
        with torch.autocast("cpu", torch.bfloat16):
            step = engine.in_step([cell], torch.zeros(1, 1, 2, 2))[0]
            c = torch.ones(1, 1, 2, 2)
            h = torch.zeros(1, 1, 2, 2)
            for _ in range(100):
                h, c = step(torch.zeros(1, 1, 2, 2), h, c)
    assert h.dtype == torch.bfloat16
    torch.testing.assert_close(c, torch.full_like(c, 1.2), atol=0.002, rtol=0)


def test_what_no_gradient_is_asked_of() -> None:
    """Gradients of inputs alone, then of all, twice through the same graph: nothing is counted that was not asked for."""
    cell = ConvLSTMCell(2, 3, peepholes=True)
    x = torch.randn(2, 2, 5, 5, requires_grad=True)
    ours, theirs = (ran(run, [x, x], None, None).square().sum() for run in (engine.in_step([cell], x)[0], cell))
    learnt = [x, *cell.parameters()]
    alone = torch.autograd.grad(ours, [x], retain_graph=True)[0]
    for _ in range(2):
        found = torch.autograd.grad(ours, learnt, retain_graph=True)
        for a, b in zip(found, torch.autograd.grad(theirs, learnt, retain_graph=True), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone, found[0])
    for parameter in cell.parameters():
        parameter.requires_grad_(False)
    only = ran(engine.in_step([cell], x)[0], [x, x], None, None).square().sum()
    torch.testing.assert_close(torch.autograd.grad(only, [x])[0], alone)


def test_gradients_add_up_and_stay() -> None:
    """.grad of one backward pass is not touched by the next one's, other than by its sum."""
    cell = ConvLSTMCell(1, 2)
    x = torch.randn(1, 1, 4, 4)
    loss = ran(engine.in_step([cell], x)[0], [x, x], None, None).square().sum()
    loss.backward(retain_graph=True)
    once = cell.gates.weight.grad.clone()
    kept = cell.gates.weight.grad
    loss.backward(retain_graph=True)
    torch.testing.assert_close(kept, 2 * once)
    cell.zero_grad()
    loss.backward()
    torch.testing.assert_close(kept, 2 * once)


@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("which", ["both", "h", "c"])
def test_whole_tensors_equal_blocks(peepholes, begun, which) -> None:
    """The functions that are compiled, against those that the CPU runs."""
    torch.manual_seed(0)
    b, k, h, w = 2, 3, 4, 5
    gates = torch.randn(b, 4 * k, h, w).contiguous(memory_format=torch.channels_last)
    c = torch.randn(b, k, h, w).contiguous(memory_format=torch.channels_last) if begun else None
    peephole = torch.randn(3, k) if peepholes else None
    S, new_h, new_c = engine.gated(gates, c, peephole, keep=True)
    rows = engine._rows(gates, gates.dtype).view(-1, 4, k)
    past = torch.zeros(b * h * w, k) if c is None else engine._rows(c, c.dtype)
    whole = engine.whole_gated(rows, past, peephole, True)
    for a, r in zip((S.transpose(0, 1), engine._rows(new_h, new_h.dtype), engine._rows(new_c, new_c.dtype)), whole, strict=True):
        torch.testing.assert_close(a, r)
    dh = torch.randn_like(new_h) if which != "c" else None
    dc = torch.randn_like(new_c) if which != "h" else None
    tape = engine._Tape(torch.zeros(4 * k, k, 1, 1), [0, 0], k, torch.float32)
    D, before = engine.gated_backward(S, c, new_c, dh, dc, peephole, tape)
    seen = engine._rows(new_c, new_c.dtype), None if dh is None else engine._rows(dh, dh.dtype)
    later_c = torch.zeros_like(past) if dc is None else engine._rows(dc, dc.dtype)
    theirs = engine.whole_gated_backward(whole[0], past, *seen, later_c, peephole)
    torch.testing.assert_close(engine._rows(D, D.dtype).view(-1, 4, k), theirs[0])
    if begun:
        torch.testing.assert_close(engine._rows(before, before.dtype), theirs[1])
    torch.testing.assert_close(tape.bias, theirs[2], atol=1e-5, rtol=1e-5)
    if peepholes:
        torch.testing.assert_close(tape.peephole, theirs[3], atol=1e-5, rtol=1e-5)


def test_compiled_cells_equal_plain_ones() -> None:
    """On a CPU: values and gradients, from nothing on, at more than one batch size."""
    try:
        engine.check_compiler()
    except ValueError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    cell = ConvLSTMCell(2, 5)
    for b in (2, 3):
        x = torch.randn(b, 2, 6, 7, requires_grad=True)
        learnt = [x, *cell.parameters()]
        runs = (engine.in_step([cell], x, compiled=True)[0], cell)
        made = [ran(run, [x, x, x], None, None) for run in runs]
        torch.testing.assert_close(made[0], made[1], atol=1e-5, rtol=1e-5)
        for ours, theirs in zip(*(gradients(one, learnt) for one in made), strict=True):
            assert distance(ours, theirs) < 1e-5


def test_compilers_are_given_the_plain_cells() -> None:
    network = ConvLSTM(hidden=(2,))
    past = torch.rand(1, 2, 1, 6, 6)
    exported = torch.export.export(network, (past, 2)).module()
    torch.testing.assert_close(exported(past, 2), network(past, 2), atol=1e-5, rtol=1e-5)
    assert engine.in_step(network.encoder, past.to("meta")) == list(network.encoder)


@pytest.mark.parametrize("name", list(PRESETS))
def test_saving_memory_changes_nothing(name: str) -> None:
    """memory "save": the same forecast and gradients, of every way to step ahead, from fewer values kept."""
    changes = {"guide": "linear_motion"} if name == "nowcast" else {}
    torch.manual_seed(0)
    network = ConvLSTM.preset(name, hidden=[4] * len(ConvLSTM.preset(name).args["hidden"]), **changes)
    past, truth = torch.rand(2, 9, 1, 16, 16), torch.rand(2, 7, 1, 16, 16)
    found, kept = [], []
    for memory in ("keep", "save"):
        network.memory = memory
        network.zero_grad()
        alive: dict[int, int] = {}

        def pack(value: Tensor, alive: dict[int, int] = alive) -> Tensor:
            alive[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            forecast = network(past, 7)
        kept.append(sum(alive.values()))
        (forecast - truth).square().sum().backward()
        found.append([forecast, *(p.grad for p in network.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    if name in ("tutorial", "shi2015", "openstl"):  # those with more in their layers than in stem and head
        assert kept[1] < kept[0] / 2


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries have no mallopt")
def test_memory_that_is_kept_is_not_asked_for_again() -> None:
    """In a process of its own, where nothing else asks. A page of memory that the system hands over is a fault."""
    script = """
import resource, torch
from foreframe.models.engine import keep_memory
torch.set_num_threads(1)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.zeros(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back = faults()
keep_memory()
faults()
print(given_back, faults())
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    given_back, kept = map(int, ran.stdout.split())
    assert kept < given_back / 2
