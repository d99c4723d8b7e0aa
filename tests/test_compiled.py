"""torch.compile and CUDA graphs: the same training run, only faster."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minidiff.data.sets import load
from minidiff.engine import trainer as module
from minidiff.engine.compiled import GRAPHS, compile_mode
from minidiff.engine.config import TrainConfig
from minidiff.engine.distributed import World
from minidiff.engine.trainer import Trainer
from minidiff.unet.blocks import channels_last_twice

CPU, GPU = torch.device("cpu"), torch.device("cuda")
TINY = TrainConfig(
    network_options={"width": 8, "mults": (1,), "attention": (), "blocks": 1, "dropout": 0.0},
    batch=8,
    steps=6,
    precision="fp32",
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(
    ("device", "processes", "changes", "mode"),
    [
        (GPU, 1, {"compile": "auto"}, GRAPHS),
        (GPU, 4, {"compile": "auto"}, "default"),
        (GPU, 4, {"compile": "auto", "fsdp": True}, "default"),
        (GPU, 4, {"compile": GRAPHS}, GRAPHS),
        (CPU, 1, {"compile": "auto"}, ""),
        (CPU, 1, {"compile": "default"}, "default"),
        (GPU, 1, {"compile": ""}, ""),
    ],
)
def test_auto_takes_graphs_where_they_can_be_taken(
    device: torch.device, processes: int, changes: dict[str, Any], mode: str
) -> None:
    assert compile_mode(replace(TINY, **changes), World(0, processes, device)) == mode


class OnePlace(torch.autograd.Function):
    """w, whose gradient is written to the same place at each pass, as a CUDA graph writes it."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, place: Tensor) -> Tensor:
        ctx.place = place
        return w.view_as(w)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.place.copy_(grads[0]).detach(), None


class LikeAGraph(nn.Module):
    """The network, its gradients coming from one place each."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._orig_mod = net
        self.places = {k: torch.zeros_like(p) for k, p in net.named_parameters()}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        net = self._orig_mod
        weights = {k: OnePlace.apply(p, self.places[k]) for k, p in net.named_parameters()}
        return torch.func.functional_call(net, weights, args, kwargs)


def trained(c: TrainConfig, device: torch.device = CPU) -> Trainer:
    """The trainer after all of its steps."""
    trainer = Trainer(c, World(0, 1, device), load("digits", device=device))
    batches = trainer.batches()
    for _ in range(c.steps):
        trainer.step(batches)
    return trainer


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_gradients_that_a_graph_overwrites_are_added_up(
    monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    c = replace(TINY, accumulate=accumulate)
    marks: list[int] = []  # torch's own mark imports all of its compiler
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(1))
    plain = trained(c)
    assert not marks, "a run that compiles nothing has nothing to mark"
    monkeypatch.setattr(module, "compile_mode", lambda *_: GRAPHS)
    monkeypatch.setattr(module, "compiled", lambda net, mode: LikeAGraph(net))
    graphs = trained(c)
    assert len(marks) == c.steps * accumulate
    for p, q in zip(plain.weights, graphs.weights, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_channels_last_twice_is_interpolate(layout: torch.memory_format) -> None:
    x = torch.randn(2, 6, 3, 5).contiguous(memory_format=layout).requires_grad_()
    g = torch.randn(2, 6, 6, 10)
    mine, torchs = channels_last_twice(x), F.interpolate(x, scale_factor=2.0)
    assert torch.equal(mine, torchs)
    assert mine.is_contiguous(memory_format=torch.channels_last)
    grads = [torch.autograd.grad((y * g).sum(), x)[0] for y in (mine, torchs)]
    torch.testing.assert_close(*grads)


@needs_gpu
@pytest.mark.parametrize(
    "changes", [{}, {"accumulate": 4}, {"ema": (0.9, 0.99)}, {"clip_grad": 0.1}]
)
def test_graphs_train_the_same_weights_on_a_gpu(changes: dict[str, Any]) -> None:
    plain = trained(replace(TINY, **changes), GPU)
    graphs = trained(replace(TINY, compile="auto", **changes), GPU)
    assert graphs.mode == GRAPHS
    for p, q in zip(plain.weights, graphs.weights, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)
    for m, n in zip(plain.ema.shadows[0], graphs.ema.shadows[0], strict=True):
        torch.testing.assert_close(m, n, rtol=1e-3, atol=1e-4)


@needs_gpu
def test_a_run_with_graphs_goes_on_bit_for_bit(tmp_path: Any) -> None:
    from minidiff.engine.folder import save, take_up

    options = TINY.network_options | {"dropout": 0.2}
    c = replace(TINY, compile="auto", network_options=options, flip=True)
    whole = trained(c, GPU)
    half = trained(replace(c, steps=3), GPU)
    save(half, tmp_path)
    rest = Trainer(c, World(0, 1, GPU), load("digits", device=GPU))
    take_up(rest, tmp_path, resume=True)
    batches = rest.batches()
    while rest.steps_done < c.steps:
        rest.step(batches)
    for p, q in zip(whole.weights, rest.weights, strict=True):
        assert torch.equal(p, q)


@needs_gpu
def test_a_step_with_graphs_never_waits_for_the_gpu() -> None:
    trainer = trained(replace(TINY, compile="auto"), GPU)
    batches = trainer.batches()
    trainer.step(batches)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.step(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
