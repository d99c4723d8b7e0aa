"""Other people's weights: equal outputs and gradients, exact round trips, nothing half loaded."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import minidiff as md
from minidiff.engine.checkpoint import load_pretrained
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
    null = bool(config.num_classes)  # their config does not say
    return theirs, compat.unet_from_diffusers(theirs.config, theirs.state_dict(), null).eval()


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
    bad["conv_in.weight"] = state["conv_in.weight"] / 0
    with pytest.raises(ValueError, match="nothing was loaded") as info:
        compat.unet_from_diffusers(config, bad)
    text = str(info.value)
    assert "missing: conv_in.bias, mid_block.attentions.0.to_k.weight" in text
    assert "unknown: surprise.weight" in text
    assert "NaN or infinite: conv_in.weight" in text
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


IMAGES = replace(SMALL, out_channels=1)  # a network whose output is an image
SCHEDULER = {"_class_name": "DDPMScheduler"}


def write_folder(folder, net, scheduler=None, index=None, sub=True, suffix=".safetensors"):
    """A folder as diffusers' pipelines write it; sub=False: as its models do."""
    config, state = compat.unet_to_diffusers(net, old_names=True)
    unet, walk = (folder / "unet", folder / "scheduler") if sub else (folder, folder)
    unet.mkdir(exist_ok=True, parents=True), walk.mkdir(exist_ok=True)
    (unet / "config.json").write_text(json.dumps(config))
    weights = unet / f"diffusion_pytorch_model{suffix}"
    save_file(state, weights) if suffix == ".safetensors" else torch.save(state, weights)
    if scheduler is not None:
        (walk / "scheduler_config.json").write_text(json.dumps(scheduler))
    if index is not None:
        (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("sub", [True, False])
def test_folder_becomes_a_denoiser(tmp_path, sub, suffix):
    net = shake(UNet(IMAGES))
    settings = {**SCHEDULER, "variance_type": "fixed_small_log", "num_train_timesteps": 50}
    write_folder(tmp_path, net, {**settings, "beta_end": 0.3}, sub=sub, suffix=suffix)
    model = compat.load_folder(tmp_path)
    x, t = torch.randn(1, 1, 16, 16), torch.tensor([9])
    assert torch.equal(model.net(x, t), net(x, t))
    facts = (model.predict, model.variance, model.clip, model.schedule.T, model.training)
    assert facts == ("eps", "small", True, 50, False)
    assert model.schedule.beta[50] == pytest.approx(0.3)
    again = load_pretrained(tmp_path)  # what the command line calls
    assert torch.equal(again.net(x, t), net(x, t))


def test_a_folder_without_a_scheduler_is_ddpm_s_and_says_so(tmp_path):
    write_folder(tmp_path, UNet(IMAGES))
    with pytest.warns(UserWarning, match=r"no scheduler_config\.json: DDPM's process is taken"):
        model = compat.load_folder(tmp_path)
    assert (model.predict, model.variance, model.clip) == ("eps", "large", True)
    assert model.schedule.T == 1000


def test_half_precision_folders_sample(tmp_path):
    net = shake(UNet(IMAGES))
    write_folder(tmp_path, net.half(), SCHEDULER)
    x_T = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        model = compat.load_folder(tmp_path, dtype=dtype)
        assert model.net.conv_in.weight.dtype == dtype
        *_, last = md.ddim(model, x_T, md.tau(1000, S=2))
        assert last.x.dtype == torch.float32
        assert last.x.isfinite().all()
    assert compat.load_folder(tmp_path).net.conv_in.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"_class_name": "LDMPipeline", "vqvae": ["diffusers", "VQModel"]}, "also has vqvae"),
        ({"_class_name": "DDIMPipeline", "vae": ["diffusers", "AutoencoderKL"]}, "also has vae"),
        ({"text_encoder": ["transformers", "T5"], "tokenizer": ["x", "y"]}, "text_encoder, tokeni"),
        ({"_class_name": "ScoreSdeVePipeline"}, "is a ScoreSdeVePipeline; minidiff reads DDPM"),
        ({"_class_name": ["mine", "MyPipeline"]}, "MyPipeline"),
        ({"scheduler": ["diffusers", "EDMEulerScheduler"]}, "names EDMEulerScheduler: which"),
    ],
)
def test_pipelines_with_other_parts_are_named(tmp_path, index, message):
    write_folder(tmp_path, UNet(IMAGES), SCHEDULER, index)
    with pytest.raises(ValueError, match=message):
        compat.load_folder(tmp_path)
    index = {"_class_name": "DDIMPipeline", "scheduler": ["diffusers", "DDPMScheduler"]}
    more = {"unet": ["diffusers", "UNet2DModel"], "safety_checker": [None, None]}
    write_folder(tmp_path, UNet(IMAGES), SCHEDULER, {**index, **more})
    assert compat.load_folder(tmp_path).schedule.T == 1000


def test_model_index_names_the_class_where_the_settings_do_not(tmp_path):
    index = {"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "PNDMScheduler"]}
    write_folder(tmp_path, UNet(IMAGES), {"clip_sample": True}, index)
    assert compat.load_folder(tmp_path).clip is False
    (tmp_path / "scheduler/scheduler_config.json").unlink()
    with pytest.raises(ValueError, match="promises a PNDMScheduler"):
        compat.load_folder(tmp_path)


def test_channels_that_no_image_model_has(tmp_path):
    write_folder(tmp_path, UNet(SMALL), SCHEDULER)
    with pytest.raises(ValueError, match="1 channels in and 2 out"):
        compat.load_folder(tmp_path)
    write_folder(tmp_path, UNet(SMALL), {**SCHEDULER, "variance_type": "learned_range"})
    assert compat.load_folder(tmp_path).learns_variance


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_names_are_taken_off(wrapper):
    net = shake(UNet(SMALL))
    config, state = compat.unet_to_diffusers(net, old_names=True)
    again = compat.unet_from_diffusers(config, {f"{wrapper}{k}": v for k, v in state.items()})
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in again.state_dict().items())
    state["module.conv_in.bias"] = state["conv_in.bias"]
    with pytest.raises(ValueError, match=r"conv_in\.bias twice"):
        compat.unet_from_diffusers(config, state)


def test_errors_stay_short():
    config, state = compat.unet_to_diffusers(UNet(UNetConfig(width=32)))
    with pytest.raises(ValueError, match=r"missing: .* and \d+ more; unknown: ") as error:
        compat.unet_from_diffusers(config, {f"x.{name}": v for name, v in state.items()})
    assert len(str(error.value)) < 1000
    with pytest.raises(ValueError, match="does not have these") as error:
        compat.unet_from_diffusers({**config, **{f"s{i}": "x" * 1000 for i in range(99)}}, state)
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"block_out_channels": "abc"}, "block_out_channels must be a tuple"),
        ({"block_out_channels": []}, "only multiples of the first"),
        ({"layers_per_block": 10**9}, "more blocks"),
        ({"layers_per_block": [2]}, "layers_per_block must be a whole number"),
        ({"block_out_channels": [16, 32, 16 * 10**16]}, "be built|wrong shape"),
        ({"block_out_channels": [2**14, 2**15, 2**15]}, "wrong shape"),
        ({"norm_num_groups": 0}, "norm_num_groups must be"),
        ({"sample_size": {"a": 1}}, "sample_size must be"),
        ({"future_setting": 1}, r"future_setting=1 \(unknown\)"),
        ({"down_block_types": None}, "down_block_types must be"),
    ],
)
def test_hostile_configurations_take_no_memory(setting, message):
    config, state = compat.unet_to_diffusers(UNet(SMALL))
    with pytest.raises(ValueError, match=message):
        compat.unet_from_diffusers({**config, **setting}, state)


def test_sample_size_only_names_the_levels():
    config, state = compat.unet_to_diffusers(shake(UNet(SMALL)))
    x, t = torch.randn(1, 1, 16, 16), torch.tensor([3])
    expected = compat.unet_from_diffusers(config, state).eval()(x, t)
    for size in (15, 13, [16, 32], [15, 15]):
        with pytest.warns(UserWarning, match="is taken as 16"):
            net = compat.unet_from_diffusers({**config, "sample_size": size}, state)
        assert torch.equal(net.eval()(x, t), expected)
    for size in (None, 64, [16, 16]):
        net = compat.unet_from_diffusers({**config, "sample_size": size}, state)
        assert torch.equal(net.eval()(x, t), expected)


def test_classes_with_and_without_a_null_class():
    config, state = compat.unet_to_diffusers(UNet(replace(SMALL, num_classes=10)))
    assert config["num_class_embeds"] == 11
    bare = {k: v for k, v in config.items() if k[0] != "_"}
    for given, argument, classes, null in (
        (config, None, 10, True),  # noted by us
        (bare, None, 11, False),  # everybody else's: all of them
        (bare, True, 10, True),
        (config, False, 11, False),
    ):
        c = compat.unet_from_diffusers(given, state, argument).config
        assert (c.num_classes, c.null_class) == (classes, null)
        assert compat.unet_to_diffusers(UNet(c))[0]["num_class_embeds"] == 11
        assert compat.unet_from_diffusers(*compat.unet_to_diffusers(UNet(c))).config == c


def test_heads_of_one_width_only():
    for heads in (1, 2, 4):
        net = UNet(replace(SMALL, head_dim=None, heads=heads, attention=()))
        again = compat.unet_from_diffusers(*compat.unet_to_diffusers(net))
        assert again.config.function() == net.config.function()
    with pytest.raises(ValueError, match=r"heads=4 makes some of \[4, 12\]"):
        compat.unet_to_diffusers(UNet(replace(SMALL, head_dim=None, heads=4, attention=(16,))))


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_weights_in_parts(tmp_path, suffix):
    """As diffusers writes what is larger than its max_shard_size."""
    net = UNet.digits()
    config, state = compat.unet_to_diffusers(net)
    stem = "diffusion_pytorch_model"
    where = {k: f"{stem}-{i % 2 + 1:05}-of-00002{suffix}" for i, k in enumerate(sorted(state))}
    for name in set(where.values()):
        part = {k: state[k] for k in state if where[k] == name}
        save_file(part, tmp_path / name) if suffix != ".bin" else torch.save(part, tmp_path / name)
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8-sig")
    (tmp_path / "scheduler_config.json").write_text('{"_class_name": "DDPMScheduler"}')
    index = tmp_path / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    read = compat.load_folder(tmp_path).net.state_dict()
    assert all(torch.equal(v, read[k]) for k, v in net.state_dict().items())
    for wrong in ({"a": "../out" + suffix}, {"a": 3}, {"a": "/etc/passwd"}, {}, None):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(ValueError, match="does not say which files hold the weights"):
            compat.load_folder(tmp_path)
    index.write_text(json.dumps({"weight_map": where}))
    (tmp_path / f"{stem}-00002-of-00002{suffix}").unlink()
    with pytest.raises(ValueError, match=r"lacks .*-00002-of-00002.*, of the 2 files"):
        compat.load_folder(tmp_path)


def test_a_name_of_its_own_goes_before_a_variant(tmp_path):
    """Whatever their formats are."""
    config, state = compat.unet_to_diffusers(UNet.digits())
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "scheduler_config.json").write_text('{"_class_name": "DDPMScheduler"}')
    torch.save(state, tmp_path / "diffusion_pytorch_model.bin")
    half = {k: torch.zeros_like(v).half() for k, v in state.items()}
    save_file(half, tmp_path / "diffusion_pytorch_model.fp16.safetensors")
    net = compat.load_folder(tmp_path).net
    assert any(p.any() for p in net.parameters())
    (tmp_path / "diffusion_pytorch_model.bin").unlink()
    assert not any(p.any() for p in compat.load_folder(tmp_path).net.parameters())


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"unet": ["diffusers", "UNet2DConditionModel"]}, "a pipeline with a UNet2DConditionModel"),
        ({"scheduler": 3}, "scheduler must be a library and a class, got 3"),
    ],
)
def test_parts_of_another_kind_are_named(tmp_path, index, message):
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=message):
        compat.load_folder(tmp_path)


def test_damaged_folders_are_named(tmp_path):
    write_folder(tmp_path, UNet(IMAGES), SCHEDULER, sub=False)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    good = (tmp_path / "config.json").read_text()
    wrong = ('{"a":', "not a JSON object"), ("[1]", "holds a list"), ("[" * 10**5, "not a JSON")
    for text, message in (*wrong, ("{}", "lacks block_out_channels")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            compat.load_folder(tmp_path)
    (tmp_path / "config.json").write_text(good)
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or cut short"):
        compat.load_folder(tmp_path)


def test_folder_without_a_model(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        compat.load_folder(tmp_path)
    write_folder(tmp_path, UNet(IMAGES), SCHEDULER)
    (tmp_path / "unet/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no \.safetensors and no \.bin"):
        compat.load_folder(tmp_path)
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / "unet" / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"2 files of weights \(a\.safetensors, b"):
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
    write_folder(tmp_path, UNet(IMAGES), SCHEDULER)
    asked = {}

    def download(name, allow_patterns):
        asked[name] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", download)
    assert compat.load_from_hub("owner/model").net.config == IMAGES
    assert not any("bin" in pattern for pattern in asked["owner/model"])


# ---------------------------------------------------------------- a folder for diffusers


def model_to_save(schedule=None, **options):
    net = shake(UNet(UNetConfig(8, 1, 1, 16, (1, 2), 1, (4,), groups=8, heads=2)))
    return md.Denoiser(net, schedule or md.Schedule.linear(100), **options).eval()


def test_saved_folder_is_what_diffusers_expects(tmp_path):
    compat.save_folder(model_to_save(variance="large"), tmp_path / "new")
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert files == [
        "new/model_index.json",
        "new/scheduler/scheduler_config.json",
        "new/unet/config.json",
        "new/unet/diffusion_pytorch_model.safetensors",
    ]
    index = json.loads((tmp_path / "new/model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DModel"]
    assert index["scheduler"] == ["diffusers", "DDPMScheduler"]
    settings = json.loads((tmp_path / "new/scheduler/scheduler_config.json").read_text())
    expected = {"num_train_timesteps": 100, "beta_schedule": "linear", "clip_sample": True}
    expected |= {"variance_type": "fixed_large", "prediction_type": "epsilon"}
    expected |= {"timestep_spacing": "leading", "steps_offset": 0}
    assert settings.items() >= expected.items()
    assert settings["beta_end"] == pytest.approx(0.2)  # theirs is not scaled by 1000/T
    weights = load_file(tmp_path / "new/unet/diffusion_pytorch_model.safetensors")
    assert weights.keys() == compat.unet_to_diffusers(UNet(model_to_save().net.config))[1].keys()


@pytest.mark.parametrize("predict", ["eps", "x0", "v"])
@pytest.mark.parametrize(
    "schedule",
    [
        md.Schedule.linear(100),
        md.Schedule.cosine(100),
        md.Schedule.from_betas(torch.linspace(1e-3, 0.1, 100)),
    ],
    ids=["linear", "cosine", "betas"],
)
def test_saved_folder_comes_back(tmp_path, schedule, predict):
    model = model_to_save(schedule, predict=predict, variance="large", clip=False)
    compat.save_folder(model, tmp_path)  # an empty folder is fine
    again = compat.load_folder(tmp_path)
    assert (again.predict, again.variance, again.clip) == (predict, "large", False)
    torch.testing.assert_close(again.schedule.alpha_bar, schedule.alpha_bar, rtol=1e-12, atol=0)
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True)
    )
    with pytest.raises(ValueError, match="is not empty"):
        compat.save_folder(model, tmp_path)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: model_to_save(predict="mu"), "no predict='mu'"),
        (lambda: model_to_save(predict="u"), "no predict='u'"),
        (lambda: model_to_save(sigma_data=0.5), "no sigma_data"),
        (lambda: md.Denoiser(torch.nn.Linear(2, 2), md.Schedule.linear(50)), "a Linear"),
        (lambda: md.Denoiser(UNet.digits(self_cond=True), md.Schedule.linear(50)), "self_cond"),
    ],
)
def test_what_diffusers_lacks_leaves_nothing_behind(tmp_path, model, message):
    with pytest.raises(ValueError, match=message):
        compat.save_folder(model(), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("variance", ["small", "large"])
def test_diffusers_draws_the_same_images(tmp_path, variance, clip):
    diffusers = pytest.importorskip("diffusers")
    model = model_to_save(variance=variance, clip=clip)
    compat.save_folder(model, tmp_path / "new")
    tau = md.tau(100, 10, "leading")
    for name, walk, options in (
        ("DDPMPipeline", lambda x, g: md.ancestral(model, x, tau, generator=g), {}),
        (
            "DDIMPipeline",
            lambda x, g: md.ddim(model, x, tau, 0.5, generator=g),
            {"eta": 0.5, "use_clipped_model_output": clip},
        ),
    ):
        pipe = getattr(diffusers, name).from_pretrained(tmp_path / "new")
        pipe.set_progress_bar_config(disable=True)
        g = torch.Generator().manual_seed(3)
        them = pipe(2, generator=g, num_inference_steps=10, output_type="np", **options).images
        g = torch.Generator().manual_seed(3)
        *_, last = walk(torch.randn(2, 1, 8, 8, generator=g), g)
        ours = (last.x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
        assert abs(ours - them).max() < 1e-4  # their tables are float32
        assert ours.std() > 0.1
