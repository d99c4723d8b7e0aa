"""Checkpoints of the papers' own programs: equal to small versions of their networks, by name.

The two functions below are written from openai/improved-diffusion (unet.py) and ermongroup/ddim
(models/diffusion.py) and read a state dict of theirs; they share nothing with the library.
"""

import argparse
import math
import pickle

import pytest
import torch
import torch.nn.functional as F

import minidiff as md
from minidiff import compat

FLAGS = {"image_size": 32, "num_channels": 32, "num_res_blocks": 1}
VARIANTS = {
    "four heads of two widths": {"attention_resolutions": "16,32"},
    "cosine, learned sigma": {
        "learn_sigma": True,
        "diffusion_steps": 4000,
        "noise_schedule": "cosine",
    },
    "classes, no rescaled times": {"class_cond": True, "rescale_timesteps": False},
    "one head, no scale and shift, x0": {
        "num_heads": 1,
        "use_scale_shift_norm": False,
        "predict_xstart": True,
        "sigma_small": True,
    },
    "64 pixels": {"image_size": 64, "attention_resolutions": "16,8"},
}


def improved(s, x, t, heads, y=None):
    """UNetModel.forward; t as it comes after rescaling."""

    def conv(name, h, **kw):
        return F.conv2d(h, s[f"{name}.weight"], s[f"{name}.bias"], **kw)

    def linear(name, h):
        return F.linear(h, s[f"{name}.weight"], s[f"{name}.bias"])

    def norm(name, h):
        return F.group_norm(h, 32, s[f"{name}.weight"], s[f"{name}.bias"], 1e-5)

    def res(name, h, emb):
        out = conv(f"{name}.in_layers.2", F.silu(norm(f"{name}.in_layers.0", h)), padding=1)
        e = linear(f"{name}.emb_layers.1", F.silu(emb))[:, :, None, None]
        if e.shape[1] == 2 * out.shape[1]:
            scale, shift = e.chunk(2, dim=1)
            out = norm(f"{name}.out_layers.0", out) * (1 + scale) + shift
        else:
            out = norm(f"{name}.out_layers.0", out + e)
        out = conv(f"{name}.out_layers.3", F.silu(out), padding=1)
        return out + (
            conv(f"{name}.skip_connection", h) if f"{name}.skip_connection.bias" in s else h
        )

    def attend(name, h):
        b, c, height, width = h.shape
        z = norm(f"{name}.norm", h).reshape(b, c, -1)
        z = F.conv1d(z, s[f"{name}.qkv.weight"], s[f"{name}.qkv.bias"])
        q, k, v = z.reshape(b * heads, -1, z.shape[2]).chunk(3, dim=1)
        weight = torch.einsum("bct,bcs->bts", q, k) / math.sqrt(q.shape[1])
        z = torch.einsum("bts,bcs->bct", weight.softmax(-1), v).reshape(b, c, -1)
        z = F.conv1d(z, s[f"{name}.proj_out.weight"], s[f"{name}.proj_out.bias"])
        return h + z.reshape(b, c, height, width)

    def block(name, h, emb):
        for part in range(3):
            here = f"{name}.{part}"
            if f"{here}.in_layers.0.weight" in s:
                h = res(here, h, emb)
            elif f"{here}.qkv.weight" in s:
                h = attend(here, h)
            elif f"{here}.op.weight" in s:
                h = conv(f"{here}.op", h, stride=2, padding=1)
            elif f"{here}.conv.weight" in s:
                h = conv(f"{here}.conv", F.interpolate(h, scale_factor=2), padding=1)
        return h

    width = s["input_blocks.0.0.weight"].shape[0]
    freqs = torch.exp(-math.log(10000) * torch.arange(width // 2).float() / (width // 2))
    angles = t.float()[:, None] * freqs
    emb = linear("time_embed.0", torch.cat([angles.cos(), angles.sin()], 1).to(x.dtype))
    emb = linear("time_embed.2", F.silu(emb))
    if y is not None:
        emb = emb + s["label_emb.weight"][y]
    h = conv("input_blocks.0.0", x, padding=1)
    skips, n = [h], 1
    while any(name.startswith(f"input_blocks.{n}.") for name in s):
        h = block(f"input_blocks.{n}", h, emb)
        skips.append(h)
        n += 1
    h = block("middle_block", h, emb)
    for n in range(len(skips)):
        h = block(f"output_blocks.{n}", torch.cat([h, skips.pop()], 1), emb)
    return conv("out.2", F.silu(norm("out.0", h)), padding=1)


def shapes_of_improved(f):
    """Names and shapes of UNetModel's parameters, built as its constructor builds them."""
    w, out = f["num_channels"], {}
    places = {f["image_size"] // int(p) for p in f["attention_resolutions"].split(",")}
    mults = {64: (1, 2, 3, 4), 32: (1, 2, 2, 2)}[f["image_size"]]

    def add(name, *shape):
        out[f"{name}.weight"], out[f"{name}.bias"] = shape, shape[:1]

    def res(name, a, b):
        add(f"{name}.in_layers.0", a), add(f"{name}.in_layers.2", b, a, 3, 3)
        add(f"{name}.emb_layers.1", b * (2 if f["use_scale_shift_norm"] else 1), 4 * w)
        add(f"{name}.out_layers.0", b), add(f"{name}.out_layers.3", b, b, 3, 3)
        if a != b:
            add(f"{name}.skip_connection", b, a, 1, 1)

    def attend(name, c):
        add(f"{name}.norm", c), add(f"{name}.qkv", 3 * c, c, 1), add(f"{name}.proj_out", c, c, 1)

    add("time_embed.0", 4 * w, w), add("time_embed.2", 4 * w, 4 * w)
    if f["class_cond"]:
        out["label_emb.weight"] = (1000, 4 * w)
    add("input_blocks.0.0", w, 3, 3, 3)
    c, ds, n, skips = w, 1, 1, [w]
    for level, mult in enumerate(mults):
        for _ in range(f["num_res_blocks"]):
            res(f"input_blocks.{n}.0", c, mult * w)
            c = mult * w
            if ds in places:
                attend(f"input_blocks.{n}.1", c)
            skips.append(c)
            n += 1
        if level < len(mults) - 1:
            add(f"input_blocks.{n}.0.op", c, c, 3, 3)
            skips.append(c)
            n, ds = n + 1, 2 * ds
    res("middle_block.0", c, c), attend("middle_block.1", c), res("middle_block.2", c, c)
    n = 0
    for level, mult in reversed([*enumerate(mults)]):
        for i in range(f["num_res_blocks"] + 1):
            res(f"output_blocks.{n}.0", c + skips.pop(), mult * w)
            c, part = mult * w, 1
            if ds in places:
                attend(f"output_blocks.{n}.1", c)
                part = 2
            if level and i == f["num_res_blocks"]:
                add(f"output_blocks.{n}.{part}.conv", c, c, 3, 3)
                ds //= 2
            n += 1
    add("out.0", c), add("out.2", 6 if f["learn_sigma"] else 3, w, 3, 3)
    return out


def random_state(shapes, norms=("layers.0", ".norm", "out.0", "norm1", "norm2", "norm_out")):
    generator, state = torch.Generator().manual_seed(0), {}
    for name, shape in shapes.items():
        scale = 0.7 * math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.5
        centre = float(len(shape) == 1 and name.endswith(tuple(f"{n}.weight" for n in norms)))
        state[name] = scale * torch.randn(shape, generator=generator) + centre
    return state


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
@torch.no_grad()
def test_improved_diffusion(variant, tmp_path):
    flags = {**FLAGS, **variant}
    f = {
        "num_heads": 4,
        "attention_resolutions": "16,8",
        "use_scale_shift_norm": True,
        "diffusion_steps": 1000,
        "rescale_timesteps": True,
        **{"learn_sigma": False, "class_cond": False, **flags},
    }
    state = random_state(shapes_of_improved(f))
    torch.save(state, tmp_path / "model.pt")
    model = compat.load_improved_diffusion(tmp_path / "model.pt", **flags)
    model.double(), state.update({k: v.double() for k, v in state.items()})
    T = f["diffusion_steps"]
    x = torch.randn(2, 3, f["image_size"], f["image_size"], dtype=torch.float64)
    y = torch.tensor([0, 999]) if f["class_cond"] else None
    cond = {} if y is None else {"labels": y}
    for t in (1, 2, T // 2 + 1, T):
        index = torch.full((2,), t - 1).float() * (1000 / T if f["rescale_timesteps"] else 1)
        them = improved(state, x, index, f["num_heads"], y)
        p = model(x, t, **cond)
        assert them.std() > 0.1
        torch.testing.assert_close(p.raw, them[:, :3], rtol=0, atol=1e-9)
        if f["learn_sigma"]:
            torch.testing.assert_close(p.values, them[:, 3:], rtol=0, atol=1e-9)
    assert model.schedule.T == T
    assert model.schedule.kind == flags.get("noise_schedule", "linear")
    assert model.clip
    assert model.predict == ("x0" if flags.get("predict_xstart") else "eps")
    expected = "small" if flags.get("sigma_small") else "large"
    assert model.variance == ("learned" if f["learn_sigma"] else expected)
    assert (model.num_classes, model.null_label) == ((1000, None) if f["class_cond"] else (0, None))


def test_parameters_of_the_published_cifar10_network():
    f = {"image_size": 32, "num_channels": 128, "num_res_blocks": 3, "learn_sigma": True}
    f |= {"attention_resolutions": "16,8", "use_scale_shift_norm": True, "class_cond": False}
    assert sum(math.prod(s) for s in shapes_of_improved(f).values()) == 52_546_438


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"image_size": 48}, "image_size must be one of 256, 64, 32"),
        ({"num_heads_upsample": 2}, "num_heads_upsample"),
        ({"timestep_respacing": "250"}, "leave timestep_respacing out"),
        ({"noise_schedule": "sqrt"}, "noise_schedule must be linear or cosine, got 'sqrt'"),
        ({"channel_mult": "1,2"}, "has no option 'channel_mult'"),
        ({"class_cond": True}, r"no label_emb\.weight"),
        ({"attention_resolutions": "a"}, "of the form '16,8'"),
        ({"num_res_blocks": 2}, "missing: "),
        ({"num_heads": 5}, "not a multiple of heads=5"),
        ({"learn_sigma": "yes"}, "learn_sigma must be True or False"),
    ],
)
def test_wrong_flags_are_named(flags, message, tmp_path):
    f = {**FLAGS, "attention_resolutions": "16,8", "use_scale_shift_norm": True}
    state = random_state(shapes_of_improved({**f, "learn_sigma": False, "class_cond": False}))
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=message) as error:
        compat.load_improved_diffusion(tmp_path / "model.pt", **{**FLAGS, **flags})
    assert len(str(error.value)) < 1000


# ---------------------------------------------------------------- the official DDIM


YAML = {
    "data": {"image_size": 16, "channels": 3, "rescaled": True, "logit_transform": False},
    "model": {
        "type": "simple",
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1, 2, 2],
        "num_res_blocks": 1,
        "attn_resolutions": [8, 500],  # no level has 500: ignored there, too
        "dropout": 0.1,
        "var_type": "fixedlarge",
        "ema": True,
        "resamp_with_conv": True,
    },
    "diffusion": {
        "beta_schedule": "linear",
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "num_diffusion_timesteps": 1000,
    },
}


def port(s, x, t, levels=3, blocks=1):
    """Model.forward of models/diffusion.py."""

    def conv(name, h, **kw):
        return F.conv2d(h, s[f"{name}.weight"], s[f"{name}.bias"], **kw)

    def norm(name, h):
        return F.group_norm(h, 32, s[f"{name}.weight"], s[f"{name}.bias"], 1e-6)

    def res(name, h):
        out = conv(f"{name}.conv1", F.silu(norm(f"{name}.norm1", h)), padding=1)
        e = F.linear(F.silu(temb), s[f"{name}.temb_proj.weight"], s[f"{name}.temb_proj.bias"])
        out = F.silu(norm(f"{name}.norm2", out + e[:, :, None, None]))
        skip = f"{name}.nin_shortcut"
        return conv(f"{name}.conv2", out, padding=1) + (conv(skip, h) if f"{skip}.bias" in s else h)

    def attend(name, h):
        if f"{name}.q.weight" not in s:
            return h
        z = norm(f"{name}.norm", h)
        q, k, v = (conv(f"{name}.{part}", z).flatten(2) for part in "qkv")
        weight = torch.bmm(q.transpose(1, 2), k) * q.shape[1] ** -0.5
        z = torch.bmm(v, weight.softmax(2).transpose(1, 2)).reshape(h.shape)
        return h + conv(f"{name}.proj_out", z)

    half = s["conv_in.weight"].shape[0] // 2
    angles = t.float()[:, None] * torch.exp(
        -math.log(10000) / (half - 1) * torch.arange(half).float()
    )
    temb = torch.cat([angles.sin(), angles.cos()], 1).to(x.dtype)
    temb = F.linear(temb, s["temb.dense.0.weight"], s["temb.dense.0.bias"])
    temb = F.linear(F.silu(temb), s["temb.dense.1.weight"], s["temb.dense.1.bias"])
    hs = [conv("conv_in", x, padding=1)]
    for i in range(levels):
        for j in range(blocks):
            hs.append(attend(f"down.{i}.attn.{j}", res(f"down.{i}.block.{j}", hs[-1])))
        if i < levels - 1:
            hs.append(conv(f"down.{i}.downsample.conv", F.pad(hs[-1], (0, 1, 0, 1)), stride=2))
    h = res("mid.block_2", attend("mid.attn_1", res("mid.block_1", hs[-1])))
    for i in reversed(range(levels)):
        for j in range(blocks + 1):
            h = attend(f"up.{i}.attn.{j}", res(f"up.{i}.block.{j}", torch.cat([h, hs.pop()], 1)))
        if i:
            h = conv(f"up.{i}.upsample.conv", F.interpolate(h, scale_factor=2.0), padding=1)
    return conv("conv_out", F.silu(norm("norm_out", h)), padding=1)


def port_state():
    config = md.UNetConfig(size=16, width=32, mults=(1, 2, 2), attention=(8,), blocks=1)
    return random_state(
        {k: tuple(v.shape) for k, v in compat.unet_to_port(md.UNet(config))[1].items()}
    )


def namespace(d):
    return argparse.Namespace(
        **{k: namespace(v) if isinstance(v, dict) else v for k, v in d.items()}
    )


@pytest.mark.parametrize("config", [YAML, namespace(YAML)], ids=["dictionary", "Namespace"])
@torch.no_grad()
def test_official_ddim(config, tmp_path):
    good = port_state()
    raw = {f"module.{name}": torch.zeros_like(v) for name, v in good.items()}
    adam = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))]).state_dict()
    torch.save(good, tmp_path / "model-790000.ckpt")
    torch.save([raw, adam, 3, 5000, good], tmp_path / "ckpt.pth")
    torch.save((raw, adam, 3, 5000, good), tmp_path / "tuple.pth")
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    double = {name: v.double() for name, v in good.items()}
    for name in ("model-790000.ckpt", "ckpt.pth", "tuple.pth"):
        model = compat.load_port(tmp_path / name, config).double()
        for t in (1, 2, 500, 1000):
            them = port(double, x, torch.full((2,), t - 1))
            assert them.std() > 0.1
            torch.testing.assert_close(model(x, t).raw, them, rtol=0, atol=1e-5)
        facts = (model.predict, model.variance, model.clip, model.training)
        assert facts == ("eps", "large", False, False)
        assert torch.equal(model.schedule.alpha_bar, md.Schedule.linear(1000).alpha_bar)


def test_the_raw_weights_where_there_is_no_average(tmp_path):
    good = port_state()
    torch.save([{f"module.{k}": v for k, v in good.items()}, {}, 3, 5000], tmp_path / "ckpt.pth")
    with pytest.raises(ValueError, match="is a list of 4"):
        compat.load_port(tmp_path / "ckpt.pth", YAML)
    config = {**YAML, "model": {**YAML["model"], "ema": False}}
    net = compat.load_port(tmp_path / "ckpt.pth", config).net
    assert torch.equal(net.conv_in.weight, good["conv_in.weight"])


@pytest.mark.parametrize(
    ("section", "setting", "message"),
    [
        ("data", {"rescaled": False}, "rescaled must be True"),
        ("data", {"logit_transform": True}, "logit_transform must be False"),
        ("model", {"var_type": "learned"}, "var_type must be one of fixedsmall, fixedlarge"),
        ("model", {"ch_mult": "1,2"}, "ch_mult must be a tuple"),
        ("diffusion", {"beta_schedule": "jsd"}, "beta_schedule must be linear, quad, sigmoid"),
        ("diffusion", {"num_diffusion_timesteps": 10**9}, "num_diffusion_timesteps must be"),
    ],
)
def test_what_the_port_has_and_we_have_not(section, setting, message, tmp_path):
    torch.save(port_state(), tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match=message):
        compat.load_port(tmp_path / "model.ckpt", {**YAML, section: {**YAML[section], **setting}})


@pytest.mark.parametrize("config", [[1, 2], "cifar10.yml", None, 3])
def test_a_config_of_another_kind(config):
    with pytest.raises(ValueError, match="must be a dictionary or a Namespace"):
        compat.unet_from_port(config, {})


# ---------------------------------------------------------------- nothing in a file is run


def test_pickles_that_ask_for_more_are_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            import os

            return (os.mkdir, (str(tmp_path / "sprung"),))

    path = tmp_path / "model.pt"
    torch.save({"conv_in.weight": torch.zeros(1), "trap": Trap()}, path)
    with pytest.raises(ValueError, match=r"is a pickle that asks for .*mkdir"):
        compat.load_improved_diffusion(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match=r"pickle|torch\.save"):
        compat.load_port(path, YAML)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"state_dict": {}, "epoch": 3}, "holds more than a state dict.*: state_dict, epoch"),
        (torch.zeros(3), "holds a Tensor"),
        ([1, 2, 3], "holds a list"),
        ({"w": torch.zeros(2, 2).to_sparse()}, "other tensors than plain ones: w"),
    ],
)
def test_files_that_hold_something_else(found, message, tmp_path):
    torch.save(found, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=message):
        compat.load_improved_diffusion(tmp_path / "model.pt", **FLAGS)


def test_damaged_and_missing_files(tmp_path):
    torch.save(port_state(), tmp_path / "model.ckpt")
    whole = (tmp_path / "model.ckpt").read_bytes()
    (tmp_path / "model.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged, cut short"):
        compat.load_port(tmp_path / "model.ckpt", YAML)
    with pytest.raises(ValueError, match="no such file"):
        compat.load_port(tmp_path / "nothing.ckpt", YAML)
