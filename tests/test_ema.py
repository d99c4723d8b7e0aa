"""The moving average of the weights."""

import pytest
import torch
from torch import nn

from minidiff.engine.ema import EMA


def _net(value: float = 0.0) -> nn.Linear:
    net = nn.Linear(3, 2)
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(value)
    return net


def test_the_average_is_the_formula() -> None:
    """m_n = sum_k (1-d) d^(n-k) w_k + d^n w_0, in closed form."""
    torch.manual_seed(0)
    net, d = _net(0.5), 0.9
    ema = EMA(net, d)
    weights = [net.weight.detach().clone()]
    for _ in range(20):
        with torch.no_grad():
            net.weight.copy_(torch.randn(2, 3))
        weights.append(net.weight.detach().clone())
        ema.update(net)
    n = len(weights) - 1
    exact = d**n * weights[0].double()
    exact += sum((1 - d) * d ** (n - k) * weights[k].double() for k in range(1, n + 1))
    ema.copy_to(net)
    torch.testing.assert_close(net.weight.double(), exact, rtol=1e-6, atol=1e-6)


def test_several_decays_are_followed_at_once() -> None:
    net = _net(0.0)
    both, slow = EMA(net, (0.5, 0.99)), EMA(net, 0.99)
    with torch.no_grad():
        net.weight.fill_(1.0)
    both.update(net)
    slow.update(net)
    assert both.shadows[0][0].mean().item() == pytest.approx(0.5)
    assert torch.equal(both.shadows[1][0], slow.shadows[0][0])
    both.copy_to(net, decay=0.99)
    assert net.weight.mean().item() == pytest.approx(0.01)
    with pytest.raises(ValueError, match="no average with decay"):
        both.copy_to(net, decay=0.7)


def test_warmup_forgets_the_start() -> None:
    net = _net(100.0)
    ema, plain = EMA(net, 0.9999, warmup=True), EMA(net, 0.9999)
    with torch.no_grad():
        net.weight.fill_(1.0)
    for n in range(100):
        ema.update(net)
        plain.update(net)
        assert ema.updates == n + 1
    assert abs(ema.shadows[0][0].mean().item() - 1) < 0.01
    assert plain.shadows[0][0].mean().item() > 90


def test_bfloat16_weights_are_averaged_in_float32() -> None:
    net = _net(1.0).to(torch.bfloat16)
    ema = EMA(net, 0.9999)
    with torch.no_grad():
        net.weight.fill_(2.0)
    ema.update(net)
    assert ema.shadows[0][0].dtype == torch.float32
    assert ema.shadows[0][0].mean().item() == pytest.approx(1.0001, abs=1e-7)


def test_averaged_gives_the_weights_back_even_after_an_error() -> None:
    net = _net(1.0)
    ema = EMA(net, 0.9)
    with torch.no_grad():
        net.weight.fill_(3.0)

    def fail() -> None:
        with ema.averaged(net) as averaged:
            assert averaged is net
            assert net.weight.mean().item() == 1.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert net.weight.mean().item() == 3.0


def test_state_returns() -> None:
    net = _net(1.0)
    ema = EMA(net, (0.9, 0.99))
    with torch.no_grad():
        net.weight.fill_(2.0)
    ema.update(net)
    other = EMA(_net(), (0.9, 0.99))
    other.load_state_dict({k: v.clone() for k, v in ema.state_dict().items()})
    assert other.updates == 1
    for a, b in zip(ema.shadows, other.shadows, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    with pytest.raises(ValueError, match="other decays"):
        EMA(_net(), 0.5).load_state_dict(ema.state_dict())


def test_buffers_go_along() -> None:
    """They are not averaged, but what is copied to is the whole network."""
    net, other = (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)) for _ in range(2))
    ema = EMA(net, 0.9)
    net(torch.randn(8, 3) + 5)
    ema.update(net)
    expected = net[1].running_mean.clone()
    assert expected.abs().max() > 0
    ema.copy_to(other)
    assert torch.equal(other[1].running_mean, expected)
    net(torch.randn(8, 3) - 5)
    own = net[1].running_mean.clone()
    with ema.averaged(net):
        assert torch.equal(net[1].running_mean, expected)
    assert torch.equal(net[1].running_mean, own)
    again = EMA(other, 0.9)
    again.load_state_dict(ema.state_dict())
    assert all(torch.equal(b, ema.buffers[name]) for name, b in again.buffers.items())


@pytest.mark.parametrize("decay", [1.0, -0.1, (), (0.9, 0.9), "0.9", None, True, float("nan")])
def test_senseless_decays_are_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay"):
        EMA(_net(), decay)
