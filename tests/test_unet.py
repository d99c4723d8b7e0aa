"""The U-Net: its sizes, its options, its promises about layout, precision and errors."""

import json
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import minidiff as md
from minidiff.unet import blocks, layers
from minidiff.unet.blocks import Attention, LinearAttention, sinusoidal
from minidiff.unet.layers import Conv3x3, channels_last_group_norm
from minidiff.unet.network import UNet, UNetConfig
from minidiff.unet.winograd import winograd

PRESETS = [
    UNet.cifar10,
    UNet.iddpm_cifar10,
    UNet.digits,
    UNet.fashion,
    UNet.celeba64,
    UNet.lsun256,
]
OPTIONS = {
    "plain": {},
    "labels": {"num_classes": 10},
    "self-conditioning": {"self_cond": True},
    "linear attention": {"linear_attention": (8,)},
    "heads": {"head_dim": 8},
    "a number of heads": {"heads": 4, "mults": (1, 2), "attention": (8, 4)},
    "labels without a null class": {"num_classes": 3, "null_class": False},
    "scale and shift": {"scale_shift": True, "time": "iddpm", "symmetric": True},
    "t/T in random frequencies": {"time": "random", "clock": 1e-3},
    "log-SNR in learned frequencies": {
        "time": "learned",
        "clock": tuple(torch.linspace(9, -9, 1000).tolist()),
    },
    "learned variance": {"out_channels": 2},
}


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()  # its limit of recompilations counts over the whole process


def on_meta(preset, **changes):
    with torch.device("meta"):
        return preset(**changes)


def shake(net):
    """Random weights of fan-in size everywhere, norms and biases too: no part can hide at zero."""
    generator = torch.Generator().manual_seed(0)
    for p in net.parameters():
        scale = p[0].numel() ** -0.5 if p.ndim > 1 else 0.5
        p.data.copy_(scale * torch.randn(p.shape, generator=generator) + (p.ndim == 1))
    return net.eval()


def inputs(net, batch=2):
    c = net.config
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, c.in_channels, c.size, c.size, generator=generator)
    t = torch.randint(0, 1000, (batch,), generator=generator)
    labels = torch.arange(batch) % c.labels if c.num_classes else None
    return x, t, labels


# ---------------------------------------------------------------- sizes


def test_parameter_counts_of_the_papers():
    assert parameters(on_meta(UNet.cifar10)) == 35_746_307
    assert parameters(on_meta(UNet.iddpm_cifar10)) == 52_546_438
    assert parameters(on_meta(UNet.lsun256)) == 113_673_219
    assert parameters(on_meta(UNet.celeba64)) == 78_700_803


def test_six_single_head_attentions_in_ddpm():
    net = on_meta(UNet.cifar10)
    attentions = [m for m in net.modules() if isinstance(m, Attention)]
    assert [m.head_dim for m in attentions] == [256] * 6
    places = [row.shape for row in net.rows() if "Attention" in row.kind]
    assert sorted(places) == [(256, 4, 4)] + [(256, 16, 16)] * 5


def test_small_presets_fit_their_shipping_weight():
    assert parameters(UNet.digits()) * 4 <= 2_000_000  # float32
    assert parameters(UNet.fashion()) * 2 <= 6_000_000  # float16


@pytest.mark.parametrize("preset", PRESETS)
def test_rows_sum_to_the_network(preset):
    net = on_meta(preset)
    assert sum(row.parameters for row in net.rows()) == parameters(net)
    text = net.describe().splitlines()
    assert len(text) == len(net.rows()) + 2
    assert f"{parameters(net):,}" in text[-1]


@pytest.mark.parametrize("options", [*OPTIONS.values(), {"size": 16, "attention": (8,)}])
def test_flops_are_those_of_torchs_counter(options):
    net = UNet.digits(**options).eval()
    x, t, labels = inputs(net, batch=1)
    # the counter has no formula for the CPU's fused attention: let it see the two products
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        net(x, t, labels)
    assert sum(row.flops for row in net.rows()) == counter.get_total_flops()


def test_flops_of_the_cifar10_network():
    net = UNet.cifar10().eval()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        net(*inputs(net, batch=1))
    assert sum(row.flops for row in net.rows()) == counter.get_total_flops()


# ---------------------------------------------------------------- every option


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_every_option_runs_compiles_and_learns(options):
    net = shake(UNet.digits(**{"blocks": 1, **options}))  # half of the blocks: half of the tracing
    c = net.config
    x, t, labels = inputs(net)
    out = net(x, t, labels)
    assert out.shape == (2, c.out_channels, 8, 8)
    assert out.isfinite().all()
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, t, labels), out)
    out.square().sum().backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_config_survives_json(options):
    config = UNet.digits(**options).config
    assert UNetConfig(**json.loads(json.dumps(asdict(config)))) == config


def test_training_graph_compiles_whole():
    net = UNet.digits(num_classes=10).train()
    torch.compile(net, fullgraph=True, backend="aot_eager")(*inputs(net)).sum().backward()
    assert net.conv_in.weight.grad is not None


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (12, 20)])
def test_any_size_the_strides_divide(size):
    x = torch.randn(1, 1, *size)
    assert UNet.digits()(x, torch.tensor([3])).shape == x.shape


def test_integer_and_float_times_agree_and_matter():
    net = shake(UNet.digits())
    x, t, _ = inputs(net)
    assert torch.equal(net(x, t), net(x, t.float()))
    assert not torch.allclose(net(x, t), net(x, t + 1))


def test_clock_table_is_read_at_t_and_between():
    net = UNet.digits(time="random", clock=tuple(float(i) ** 2 for i in range(10)))
    plain = UNet.digits(time="random", clock=0.5)
    plain.features.frequency = net.features.frequency
    table, factor = net.features, plain.features
    assert torch.equal(table(torch.tensor([0, 3, 9])), factor(torch.tensor([0.0, 18.0, 162.0])))
    assert torch.equal(table(torch.tensor([2.5])), factor(torch.tensor([13.0])))


def test_sinusoidal_features_by_hand():
    features = sinusoidal(torch.tensor([7]), 6)[0]
    angles = torch.tensor([7.0, 7.0 / 100, 7.0 / 10000])
    torch.testing.assert_close(features, torch.cat([angles.sin(), angles.cos()]))


def test_linear_attention_weights_sum_to_one():
    attention = LinearAttention(8, None, 4, 1e-6)
    q, k, v = torch.randn(3, 2, 1, 9, 8)
    out = attention.attend(q, k, torch.ones_like(v))
    torch.testing.assert_close(out, torch.full_like(out, 8**-0.5))


def test_labels_are_dropped_in_training_only():
    net = UNet.digits(num_classes=3, label_dropout=1.0)
    shake(net)
    t, null = torch.tensor([5, 5]), torch.tensor([3, 3])
    labels = torch.tensor([0, 1])
    assert not torch.equal(net.embed(t, labels), net.embed(t, null))
    net.train()
    assert torch.equal(net.embed(t, labels), net.embed(t, null))


def test_self_conditioning_without_a_guess_is_zeros():
    net = shake(UNet.digits(self_cond=True))
    x, t, _ = inputs(net)
    assert torch.equal(net(x, t), net(x, t, x_self=torch.zeros_like(x)))
    assert not torch.equal(net(x, t), net(x, t, x_self=x))


def test_checkpointing_changes_memory_not_gradients():
    net = shake(UNet.digits(dropout=0.0)).train()
    x, t, _ = inputs(net)
    net(x, t).square().sum().backward()
    plain = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    net.checkpointing = True
    net(x, t).square().sum().backward()
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.grad, plain[name])


def test_near_zero_start():
    net = UNet.digits()
    x, t, _ = inputs(net)
    assert net(x, t).abs().max() < 1e-3  # the output starts near 0,
    assert net(x, t).abs().max() > 0  # but not at 0: every layer has a gradient at once
    assert net.mid[0].attn.qkv.weight.abs().max() <= (6 / (32 + 32)) ** 0.5  # q, k, v one by one


def test_start_of_the_layers_own():
    for layer in UNet.digits(start="torch").modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):  # uniform in 1/sqrt(fan-in), the last too
            bound = layer.weight[0].numel() ** -0.5
            assert 0.5 * bound < layer.weight.abs().max() <= bound
            assert 0 < layer.bias.abs().max() <= bound


# ---------------------------------------------------------------- layout and precision


def test_channels_last_throughout():
    net = UNet.digits()
    layouts = []
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(
                lambda m, args, out: layouts.append(
                    out.is_contiguous(memory_format=torch.channels_last)
                )
            )
    net(*inputs(net))
    assert layouts
    assert all(layouts)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_channels_last_group_norm_is_group_norm(layout, offset):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 12, 5, 4, generator=generator) + offset
    x = x.contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(12, generator=generator, requires_grad=True)
    bias = torch.randn(12, generator=generator, requires_grad=True)
    g = torch.randn(3, 12, 5, 4, generator=generator)
    results = []
    for norm in (
        lambda: channels_last_group_norm(x, 4, weight, bias, 1e-6),
        lambda: F.group_norm(x.double(), 4, weight.double(), bias.double(), 1e-6),
    ):
        y = norm()
        grads = torch.autograd.grad((y * g).sum(), (x, weight, bias))
        results.append([y.double(), *(grad.double() for grad in grads)])
    assert channels_last_group_norm(x, 4, weight, bias, 1e-6).stride() == x.stride()
    tolerance = 1e-5 if offset == 0 else 3e-3  # Σx² loses digits to a mean of 30 deviations
    for mine, torchs in zip(*results, strict=True):
        torch.testing.assert_close(mine, torchs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (3, 2, 8, 12), (5, 3, 36, 32)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_winograd_is_a_convolution(shape, layout):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=g, dtype=torch.float64).contiguous(memory_format=layout)
    weight = torch.randn(6, shape[1], 3, 3, generator=g, dtype=torch.float64)
    for bias in (None, torch.randn(6, generator=g, dtype=torch.float64)):
        made = winograd(x, weight, bias)
        torch.testing.assert_close(made, F.conv2d(x, weight, bias, padding=1))
        assert made.is_contiguous(memory_format=torch.channels_last)


def test_winograd_costs_the_network_no_digit(monkeypatch):
    net, calls = md.load_pretrained("cifar10").net, []
    monkeypatch.setattr(layers, "winograd", lambda *args: calls.append(1) or winograd(*args))
    g = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 3, 32, 32, generator=g), torch.tensor([3, 700])
    direct = net(x, t).detach()
    assert not calls  # a gradient was wanted
    with torch.no_grad():
        fewer = net(x, t)
        assert calls
        exact = net.double()(x.double(), t)
    error, before = ((y - exact).square().mean().sqrt() for y in (fewer, direct))
    assert error < 1.5 * before


def counted(net, x):
    """The operations of a pass."""
    with FlopCounterMode(display=False) as counter:
        net(x)
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "where",
    {
        "a gradient is wanted": lambda conv, x: conv(x),
        "double": lambda conv, x: torch.no_grad()(conv.double())(x.double()),
        "sixteen bits": lambda conv, x: torch.no_grad()(torch.autocast("cpu")(conv))(x),
        "few tiles": lambda conv, x: torch.no_grad()(conv)(x[:1, :, :16]),
        "no whole tiles": lambda conv, x: torch.no_grad()(conv)(x[..., 1:]),
        "shapes only": lambda conv, x: torch.no_grad()(conv.to("meta"))(x.to("meta")),
        "one by one": lambda conv, x: torch.no_grad()(torch.func.vmap(conv))(x[:, None]),
        "counted": lambda conv, x: counted(torch.no_grad()(conv), x),
        "exported": lambda conv, x: torch.no_grad()(torch.export.export)(conv, (x,)),
    }.items(),
    ids=lambda case: case[0],
)
def test_elsewhere_a_convolution_is_direct(where, monkeypatch):
    monkeypatch.setattr(layers, "winograd", lambda *_: pytest.fail(where[0]))
    conv, x = Conv3x3(128, 128), torch.randn(4, 128, 32, 32)
    where[1](conv, x)


def test_sixteen_bits_do_not_round_the_input():
    net = md.load_pretrained("cifar10").net
    g = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 3, 32, 32, generator=g), torch.full((2,), 999)
    with torch.no_grad():
        exact = net(x, t)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            here = net(x, t)
            rounded = net(x.bfloat16().float(), t)  # what conv_in in 16 bits would see
    error, as_before = ((y - exact).square().mean().item() for y in (here, rounded))
    assert error < as_before / 2, (error, as_before)


def test_output_is_float32_under_autocast():
    net = UNet.digits()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(*inputs(net))
        assert net.embed(torch.tensor([3])).dtype == torch.float32
    assert out.dtype == torch.float32


def test_double_precision_goes_all_the_way():
    net = shake(UNet.digits())
    x, t, _ = inputs(net)
    single = net(x, t)
    double = net.double()(x.double(), t)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, {"x": (2, 1, 8, 9)}, "9 is not a multiple of 2 .* 8 or 10 would fit"),
        ({}, {"x": (2, 3, 8, 8)}, "takes 1 channels, got a tensor of shape"),
        ({}, {"x": (1, 8, 8)}, r"x must be \(B, 1, H, W\)"),
        ({}, {"x": (2, 1, 0, 8)}, "0 is not a multiple of 2 .*; 2 would fit"),
        ({}, {"t": (3,)}, r"one entry per image, a tensor of shape \(2,\), got .* shape \(3,\)"),
        ({}, {"labels": (2,)}, "unconditional network"),
        ({"num_classes": 10}, {}, r"0\.\.9, or 10 for no class; got None"),
        ({"num_classes": 10}, {"labels": (1,)}, r"got .* shape \(1,\)"),
        ({}, {"x_self": (2, 1, 8, 8)}, "self_cond=True"),
        ({"self_cond": True}, {"x_self": (2, 1, 8, 9)}, "shape of x"),
    ],
)
def test_errors_say_what_is_wrong_and_what_would_fit(options, arguments, message):
    shapes = {"x": (2, 1, 8, 8), "t": (2,), **arguments}
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    if "labels" in tensors:
        tensors["labels"] = tensors["labels"].long()
    with pytest.raises(ValueError, match=message):
        UNet.digits(**options)(**tensors)


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, {"x": torch.zeros(2, 1, 8, 8, dtype=torch.uint8)}, "floats .*from_uint8"),
        ({}, {"x": [[0.0]]}, r"\(B, 1, H, W\).*got a list"),
        ({}, {"t": 3}, r"got an int; the same t for all: torch\.full\(\(2,\), t\)"),
        ({"num_classes": 10}, {"labels": torch.tensor([0, 11])}, r"0\.\.9, or 10 .* got 0\.\.11"),
        ({"num_classes": 10}, {"labels": torch.tensor([-1, 3])}, r"got -1\.\.3"),
        ({"num_classes": 10}, {"labels": torch.zeros(2)}, r"whole entries .* torch\.float32"),
        ({"num_classes": 10}, {"labels": 3}, "got an int"),
    ],
)
def test_errors_for_what_is_not_the_right_kind_of_thing(options, arguments, message):
    given = {"x": torch.zeros(2, 1, 8, 8), "t": torch.tensor([0, 999]), **arguments}
    with pytest.raises(ValueError, match=message):
        UNet.digits(**options)(**given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 30}, "size must be a multiple of 8 .* got 30"),
        ({"attention": (15,)}, r"attention at size 15, but the levels have sizes \(32, 16, 8, 4\)"),
        ({"width": 48}, "48 channels, not a multiple of groups=32"),
        ({"head_dim": 96}, "an attention has 256 channels, not a multiple of head_dim=96"),
        ({"heads": 3}, "an attention has 256 channels, not a multiple of heads=3"),
        ({"heads": 4, "head_dim": 64}, "give heads=4 or head_dim=64, not both"),
        ({"time": "fourier"}, "time must be one of sinusoidal, .* got 'fourier'"),
        ({"start": "zeros"}, "start must be one of ddpm, torch; got 'zeros'"),
        ({"time": "random"}, "clock=1/T feeds t/T"),
        ({"time": "random", "clock": torch.zeros(1000)}, "clock must be .* got tensor"),
        ({"time": "random", "clock": (1.0,)}, "one number for each t"),
        ({"size": 0}, "size must be a whole number of at least 1, got 0"),
        ({"blocks": 0}, "blocks must be a whole number"),
        ({"groups": 0}, "groups must be a whole number"),
        ({"head_dim": 0}, "head_dim must be a whole number"),
        ({"mults": (1, 0)}, "mults must be a tuple, each a whole number of at least 1"),
        ({"mults": ()}, "one number for each level"),
        ({"attention": "16"}, "attention must be a tuple, each a whole number of at least 1"),
        ({"linear_attention": (16,)}, "in attention and in linear_attention"),
        ({"width": 2, "groups": 1}, "width must be a whole number of at least 4"),
        ({"width": 5, "groups": 1}, "width must be even"),
        ({"num_classes": -1}, "num_classes must be a whole number of at least 0"),
        ({"dropout": 2}, "^dropout must be a finite number in"),
        ({"label_dropout": -0.1}, "label_dropout must be a finite number in"),
    ],
)
def test_impossible_configurations(options, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**options)


@pytest.mark.parametrize("head_dim", [4, 12, 0, -6])
@pytest.mark.parametrize("kind", [blocks.Attention, blocks.LinearAttention])
def test_heads_must_divide_the_channels(kind: type[blocks.Attention], head_dim: int) -> None:
    with pytest.raises(ValueError, match=f"6 channels are not a multiple of head_dim={head_dim}"):
        kind(6, head_dim, groups=2, eps=1e-6)
    for fits in (None, 1, 2, 3, 6):
        x = torch.randn(2, 6, 3, 4)
        assert kind(6, fits, groups=2, eps=1e-6)(x).shape == x.shape


@pytest.mark.parametrize("width", [0, 3, 7])
def test_time_features_come_in_pairs(width: int) -> None:
    t = torch.arange(3)
    for features in (blocks.sinusoidal, blocks.iddpm_features):
        with pytest.raises(ValueError, match=f"must be even, from . up, got {width}"):
            features(t, width)
    for kind in ("learned", "random"):
        with pytest.raises(ValueError, match="must be even"):
            blocks.TimeFeatures(kind, width, 0.1)
    with pytest.raises(ValueError, match="from 4 up, got 2"):  # its only frequency would be 0/0
        blocks.sinusoidal(t, 2)
    assert blocks.iddpm_features(t, 2).shape == (3, 2)


def test_heads_are_asked_only_where_attention_is():
    assert UNetConfig(width=32, mults=(1, 3, 2), attention=(), head_dim=64, groups=8).labels == 0
    assert UNetConfig(width=24, mults=(1, 2), attention=(), heads=16, groups=8).attended == {48}
    net = UNet.digits(mults=(1, 2), attention=(8, 4), heads=4)
    found = [m.head_dim for m in net.modules() if isinstance(m, Attention)]
    assert found == [8, 16, 16, 16, 8, 8, 16]


def test_what_decides_a_network_s_answers():
    base = UNet.digits().config
    same = [{"dropout": 0.3}, {"start": "torch"}, {"label_dropout": 0.5}, {"head_dim": 32}]
    same += [{"size": 16, "attention": (8,)}]
    for changes in same:
        assert UNet.digits(**changes).config.function() == base.function(), changes
    for changes in (
        *({"groups": 4}, {"head_dim": 8}, {"heads": 2}, {"eps": 1e-5}, {"symmetric": True}),
        *({"clock": 0.5}, {"time": "iddpm"}, {"attention": (8,)}, {"linear_attention": (8,)}),
    ):
        assert UNet.digits(**changes).config.function() != base.function(), changes


def test_labels_without_a_null_class():
    net = shake(UNet.digits(num_classes=3, null_class=False, label_dropout=1.0)).train()
    assert net.labels.weight.shape[0] == 3
    x, t, _ = inputs(net)
    labels = torch.tensor([0, 2])
    assert torch.equal(net.embed(t, labels), net.eval().embed(t, labels))  # none is dropped
    with pytest.raises(ValueError, match=r"whole entries 0\.\.2; got 0\.\.3"):
        net(x, t, torch.tensor([0, 3]))


# ---------------------------------------------------------------- other derivatives, exporting


@pytest.mark.parametrize("options", [{}, {"num_classes": 3}, {"linear_attention": (8,)}])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_forward_and_second_derivatives(options):
    net = shake(UNet.digits(**options, dropout=0.0, label_dropout=0.0)).double()
    x, t, labels = inputs(net)
    x, v = x.double(), torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()
    step = 1e-5
    for mode in (net.train(), net.eval()):
        slope = torch.func.jvp(lambda x: net(x, t, labels), (x,), (v,))[1]
        ahead, behind = (mode(x + s * v, t, labels) for s in (step, -step))
        torch.testing.assert_close(slope, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)
        y = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(net(y, t, labels).square().sum(), y, create_graph=True)
        (hv,) = torch.autograd.grad((g * v).sum(), y)
        grad = torch.func.grad(lambda x: net(x, t, labels).square().sum())
        twice = (grad(x + step * v) - grad(x - step * v)) / (2 * step)
        torch.testing.assert_close(hv, twice, rtol=1e-4, atol=1e-5)
    weights = list(net.parameters())  # in eval mode, twice in the weights, too
    first = torch.autograd.grad(net(x, t, labels).square().sum(), weights, create_graph=True)
    sum(g.square().sum() for g in first).backward()
    assert net.conv_in.weight.grad.any()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_vmap_and_hessian():
    net = shake(UNet.digits(num_classes=3))
    x, t, labels = inputs(net)

    def one(a, b, c):
        return net(a[None], b[None], c[None])[0]

    torch.testing.assert_close(torch.func.vmap(one)(x, t, labels), net(x, t, labels))
    plain = shake(UNet.digits(size=2, mults=(1, 1), attention=(2,)))
    x = torch.randn(1, 1, 2, 2)
    hessian = torch.func.hessian(lambda x: plain(x, t[:1]).square().sum())(x).reshape(4, 4)
    torch.testing.assert_close(hessian, hessian.T, rtol=1e-3, atol=1e-4)
    assert hessian.any()


def test_export_for_any_batch():
    net = shake(UNet.digits(num_classes=3))
    x, t, labels = inputs(net, batch=4)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(net, (x, t, labels), dynamic_shapes=({0: batch},) * 3)
    x, t, labels = inputs(net, batch=7)
    torch.testing.assert_close(program.module()(x, t, labels), net(x, t, labels))


def test_noise_of_another_precision_is_taken_in_the_weights_own():
    net = shake(UNet.digits())
    x, t, _ = inputs(net)
    expected = net(x, t)
    for dtype, bound in ((torch.float64, 1e-4), (torch.bfloat16, 0.2), (torch.float16, 0.05)):
        out = net.to(dtype)(x, t)
        assert out.dtype == dtype
        assert (out.float() - expected).abs().max() < bound * expected.abs().max()
        net.float()
        shake(net)
