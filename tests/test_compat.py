"""Other people's weights: equal outputs and gradients, exact round trips, nothing half loaded."""

import json

import pytest
import torch
from safetensors.torch import save_file

from minidiff.unet import compat
from minidiff.unet.names import PORT, their_names
from minidiff.unet.network import UNet, UNetConfig

CONFIGS = {
    "cifar10": UNetConfig(dropout=0.0),
    "three levels, heads, symmetric": UNetConfig(
        size=16,
        in_channels=1,
        out_channels=2,
        width=16,
        mults=(1, 2, 3),
        blocks=1,
        attention=(16, 4),
        head_dim=8,
        groups=8,
        eps=1e-5,
        symmetric=True,
        time="iddpm",
    ),
    "two levels, three blocks, scale and shift, labels": UNetConfig(
        size=8,
        width=32,
        mults=(1, 2),
        blocks=3,
        attention=(4,),
        groups=16,
        scale_shift=True,
        num_classes=4,
    ),
}
SMALL = list(CONFIGS.values())[1]


def shake(net):
    """Random weights everywhere, norms and biases too: a wrong map cannot pass.

    Somewhat less than fan-in size: outputs of order one half leave rounding (5e-6) below the bound.
    """
    generator = torch.Generator().manual_seed(0)
    for name, p in net.named_parameters():
        scale = 0.7 * p[0].numel() ** -0.5 if p.ndim > 1 else 0.5
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        p.data.copy_(scale * torch.randn(p.shape, generator=generator) + centre)
    return net.eval()


def pair(config):
    """diffusers' network of this configuration, shaken, and ours with its weights."""
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.UNet2DModel.from_config(compat.unet_to_diffusers(UNet(config))[0])
    shake(theirs)
    return theirs, compat.unet_from_diffusers(theirs.config, theirs.state_dict()).eval()


def both(theirs, ours, t):
    c = ours.config
    generator = torch.Generator().manual_seed(t)
    x = torch.randn(1, c.in_channels, c.size, c.size, generator=generator)
    x = x.to(ours.conv_in.weight.dtype)
    labels = torch.tensor([t % c.num_classes]) if c.num_classes else None
    index = torch.tensor([t - 1])
    return theirs(x, index, class_labels=labels).sample, ours(x, index, labels)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_outputs_and_gradients_equal_diffusers(config):
    theirs, ours = pair(config)
    # A stored class-conditional network does not say that its last class is the null class: ours
    # reads it so. Dropout of labels is ours alone.
    assert ours.config == config
    for t in (1, 2, 500, 1000):
        a, b = both(theirs, ours, t)
        assert a.std() > 0.1
        assert (a - b).abs().max() <= 1e-5
    a.square().mean().backward()
    b.square().mean().backward()
    grads = {name: p.grad for name, p in ours.named_parameters()}
    grads = compat.translate(grads, ours.config, compat.DIFFUSERS)
    largest = max(p.grad.norm() for p in theirs.parameters())
    for name, p in theirs.named_parameters():  # a key's bias has gradient 0: softmax ignores it
        error = (grads[name] - p.grad).norm() / p.grad.norm().clamp_min(1e-3 * largest)
        assert error <= 1e-4, name
    theirs.double(), ours.double()
    with torch.no_grad():
        for t in (1, 2, 500, 1000):
            a, b = both(theirs, ours, t)
            assert (a - b).abs().max() <= 1e-10


@pytest.mark.parametrize(
    ("config", "old_names"), [*((c, False) for c in CONFIGS.values()), (SMALL, True)]
)
def test_diffusers_round_trip_is_bit_identical(config, old_names):
    net = shake(UNet(config))
    their_config, state = compat.unet_to_diffusers(net, old_names=old_names)
    again = compat.unet_from_diffusers(json.loads(json.dumps(their_config)), state)
    assert again.config == config
    their_config_2, state_2 = compat.unet_to_diffusers(again, old_names=old_names)
    assert their_config_2 == their_config
    assert list(state_2) == list(state)
    assert all(torch.equal(state_2[name], state[name]) for name in state)
    assert any(name.endswith("query.weight") for name in state) == old_names


def test_names_are_diffusers_own():
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        config, state = compat.unet_to_diffusers(UNet.cifar10())
        theirs = diffusers.UNet2DModel.from_config(config).state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in theirs.items()}
    assert len(state) == 328


def test_an_old_name_beside_its_new_one_is_refused():
    config, state = compat.unet_to_diffusers(UNet(SMALL))
    place = "mid_block.attentions.0"
    state[f"{place}.query.weight"] = state[f"{place}.to_q.weight"] + 1
    with pytest.raises(ValueError, match=f"{place}.to_q.weight twice"):
        compat.unet_from_diffusers(config, state)


def test_mixed_precision_is_widened():
    config, state = compat.unet_to_diffusers(shake(UNet(SMALL)))
    state["conv_in.bias"] = state["conv_in.bias"].half()  # the first of all
    _, back = compat.unet_to_diffusers(compat.unet_from_diffusers(config, state))
    assert all(torch.equal(back[name], state[name].float()) for name in state)


def test_half_precision_files_stay_half():
    config, state = compat.unet_to_diffusers(shake(UNet(SMALL)))
    state = {name: tensor.half() for name, tensor in state.items()}
    _, back = compat.unet_to_diffusers(compat.unet_from_diffusers(config, state))
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_whatever_does_not_fit_is_listed():
    config, state = compat.unet_to_diffusers(UNet(SMALL))
    bad = dict(state)
    del bad["conv_in.bias"], bad["mid_block.attentions.0.to_k.weight"]
    bad["surprise.weight"] = torch.zeros(1)
    bad["conv_out.weight"] = torch.zeros(1, 2, 3, 3)
    with pytest.raises(ValueError, match="nothing was loaded") as info:
        compat.unet_from_diffusers(config, bad)
    text = str(info.value)
    assert "missing: conv_in.bias, mid_block.attentions.0.to_k.weight" in text
    assert "unknown: surprise.weight" in text
    assert "wrong shape: conv_out.weight (1, 2, 3, 3) instead of (2, 16, 3, 3)" in text


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"act_fn": "gelu"}, "act_fn='gelu'"),
        ({"_class_name": "UNet2DConditionModel"}, "only 'UNet2DModel'"),
        ({"downsample_padding": 2}, "downsample_padding=2"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type='fourier'"),
        ({"add_attention": False}, "add_attention=False"),
        ({"block_out_channels": [16, 24, 48]}, "only multiples of the first"),
        ({"up_block_types": ["UpBlock2D"] * 3}, "mirror image"),
        ({"down_block_types": ["SkipDownBlock2D"] * 3}, "only DownBlock2D"),
        ({"freq_shift": 1}, "flip_sin_to_cos"),
        ({"time_embedding_dim": 99}, "only 64"),
        ({"resnet_time_scale_shift": "spatial"}, "spatial"),
        ({"resnet_time_scale_shift": "scale_shift"}, "attn_norm_num_groups=None"),
    ],
)
def test_settings_we_do_not_have_are_named(setting, message):
    config, state = compat.unet_to_diffusers(UNet(SMALL))
    with pytest.raises(ValueError, match=message):
        compat.unet_from_diffusers({**config, **setting}, state)


@pytest.mark.parametrize(
    ("preset", "options", "message"),
    [
        (UNet.digits, {"self_cond": True}, "self_cond=True"),
        (UNet.digits, {"linear_attention": (8,)}, "linear_attention"),
        (UNet.digits, {"time": "random", "clock": 1e-3}, "time='random'"),
        (UNet.digits, {"mults": (2, 2)}, "mults"),
    ],
)
def test_settings_they_do_not_have_are_named(preset, options, message):
    with pytest.raises(ValueError, match=message):
        compat.unet_to_diffusers(preset(**options))


# ---------------------------------------------------------------- the PyTorch port behind DDIM


def test_port_round_trip_from_both_kinds_of_config():
    net = shake(UNet(UNetConfig(size=16, width=32, mults=(1, 2, 2), attention=(8,), blocks=1)))
    config, state = compat.unet_to_port(net)
    yaml = {"model": {**config, "type": "simple"}, "data": {"image_size": 16}}
    del yaml["model"]["resolution"]
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    for c, s in ((config, state), (yaml, wrapped)):
        again = compat.unet_from_port(c, s)
        assert again.config == net.config
        config_2, state_2 = compat.unet_to_port(again)
        assert config_2 == config
        assert list(state_2) == list(state)
        assert all(torch.equal(state_2[name], state[name]) for name in state)


def test_port_names_and_shapes():
    with torch.device("meta"):
        _, state = compat.unet_to_port(UNet.cifar10())
    expected = {
        "conv_in.weight": (128, 3, 3, 3),
        "temb.dense.0.weight": (512, 128),
        "temb.dense.1.bias": (512,),
        "down.0.block.1.temb_proj.weight": (128, 512),
        "down.0.downsample.conv.weight": (128, 128, 3, 3),
        "down.1.block.0.nin_shortcut.weight": (256, 128, 1, 1),
        "down.1.attn.1.q.weight": (256, 256, 1, 1),
        "down.3.block.1.conv2.bias": (256,),
        "mid.block_1.norm1.weight": (256,),
        "mid.attn_1.proj_out.weight": (256, 256, 1, 1),
        "mid.block_2.conv1.weight": (256, 256, 3, 3),
        "up.0.block.0.conv1.weight": (128, 384, 3, 3),  # its levels count from the highest
        "up.0.block.2.nin_shortcut.weight": (128, 256, 1, 1),
        "up.1.attn.2.norm.bias": (256,),
        "up.1.upsample.conv.weight": (256, 256, 3, 3),
        "up.3.block.2.conv1.weight": (256, 512, 3, 3),
        "norm_out.weight": (128,),
        "conv_out.weight": (3, 128, 3, 3),
    }
    assert {name: tuple(state[name].shape) for name in expected} == expected
    assert len(state) == 328
    assert sum(tensor.numel() for tensor in state.values()) == 35_746_307


def test_port_equals_diffusers_through_ours():
    # Both name tables describe one network: port → ours → diffusers keeps every number in place.
    net = shake(UNet(UNetConfig(size=8, width=32, mults=(1, 2), attention=(4,))))
    ours = compat.unet_from_port(*compat.unet_to_port(net))
    for a, b in zip(
        compat.unet_to_diffusers(net)[1].items(),
        compat.unet_to_diffusers(ours)[1].items(),
        strict=True,
    ):
        assert a[0] == b[0]
        assert torch.equal(a[1], b[1])


def test_port_lacks_what_ddpm_lacks():
    with pytest.raises(ValueError, match="scale_shift=True"):
        compat.unet_to_port(UNet(CONFIGS["two levels, three blocks, scale and shift, labels"]))
    config, state = compat.unet_to_port(UNet(UNetConfig(width=32, mults=(1, 1))))
    with pytest.raises(ValueError, match="resamp_with_conv"):
        compat.unet_from_port({**config, "resamp_with_conv": False}, state)
    del config["ch"]
    with pytest.raises(ValueError, match=r"lacks ch$"):
        compat.unet_from_port(config, state)


def test_their_names_of_one_parameter():
    assert their_names("up.3.conv.bias", UNetConfig(), PORT) == ["up.3.upsample.conv.bias"]


# ---------------------------------------------------------------- files and the hub


def test_folder_becomes_a_denoiser(tmp_path):
    net = shake(UNet(SMALL))
    config, state = compat.unet_to_diffusers(net, old_names=True)
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
    model = compat.load_folder(tmp_path)
    x, t = torch.randn(1, 1, 16, 16), torch.tensor([9])
    assert torch.equal(model.net(x, t), net(x, t))
    assert (model.predict, model.variance, model.clip) == ("eps", "large", True)
    assert model.schedule.T == 1000
    assert not model.training
    scheduler = {"variance_type": "fixed_small_log", "num_train_timesteps": 50, "beta_end": 0.3}
    (tmp_path / "scheduler_config.json").write_text(json.dumps(scheduler))
    model = compat.load_folder(tmp_path)
    assert (model.variance, model.schedule.T) == ("small", 50)
    assert model.schedule.beta[50] == pytest.approx(0.3)
    scheduler["beta_schedule"] = "sigmoid"
    (tmp_path / "scheduler_config.json").write_text(json.dumps(scheduler))
    with pytest.raises(ValueError, match="linear, squaredcos_cap_v2, got 'sigmoid'"):
        compat.load_folder(tmp_path)


@pytest.mark.parametrize(
    "setting",
    [
        {"trained_betas": [0.1, 0.2]},
        {"thresholding": True},
        {"rescale_betas_zero_snr": True},
        {"clip_sample_range": 2.0},
    ],
)
def test_schedules_we_do_not_have_are_named(setting):
    with pytest.raises(ValueError, match=f"lacks {next(iter(setting))}="):
        compat._denoiser_options(setting)


def test_damaged_folders_are_named(tmp_path):
    config, state = compat.unet_to_diffusers(UNet(SMALL))
    weights = tmp_path / "model.safetensors"
    save_file(state, weights)
    for text, message in (('{"a":', "not a JSON object"), ("{}", "lacks block_out_channels")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            compat.load_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or cut short"):
        compat.load_folder(tmp_path)


def test_folder_without_a_model(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        compat.load_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="pickle"):
        compat.load_folder(tmp_path)


def test_offline_hub_says_what_to_do(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "snapshot_download", no_network)
    with pytest.raises(ConnectionError, match=r"google/ddpm-cifar10-32.*Offline\?.*load_folder"):
        compat.load_from_hub("google/ddpm-cifar10-32")


def test_hub_fetches_configuration_and_weights_only(monkeypatch, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    config, state = compat.unet_to_diffusers(UNet(SMALL))
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet/config.json").write_text(json.dumps(config))
    save_file(state, tmp_path / "unet/diffusion_pytorch_model.safetensors")
    asked = {}

    def download(name, allow_patterns):
        asked[name] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", download)
    assert compat.load_from_hub("owner/model").net.config == SMALL
    assert not any("bin" in pattern for pattern in asked["owner/model"])
