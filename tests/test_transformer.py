"""The patch transformer: the call of a U-Net, the arithmetic of DiT, a place in every engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from truth import noise, seeded

import minidiff as md
from minidiff import Denoiser, Schedule, Transformer, TransformerConfig
from minidiff.engine.checkpoint import CheckpointError
from minidiff.unet.transformer import modulated, places

SMALL = TransformerConfig(8, 2, 2, patch=2, width=16, depth=2, heads=4)
LABELLED = replace(SMALL, num_classes=3)


def shaken(config: TransformerConfig = SMALL) -> Transformer:
    """A network whose gates are open: a fresh one answers 0."""
    torch.manual_seed(0)
    net = Transformer(config).eval()
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.randn(p.shape)
    return net


def test_dit_s_2_has_its_33_million_parameters() -> None:
    """Peebles & Xie 2023, table 1; their latents, 32 x 32 x 4, and their labels."""
    config = TransformerConfig(32, 4, 8, num_classes=1000)
    with torch.device("meta"):
        count = sum(p.numel() for p in Transformer(config).parameters())
    assert round(count / 1e6) == 33


def test_a_fresh_one_answers_0_and_learns_in_every_weight() -> None:
    torch.manual_seed(0)
    net = Transformer(LABELLED)
    x, t, y = noise(4, 2, 8, 8, dtype=torch.float32), torch.arange(4), torch.tensor([0, 1, 2, 3])
    assert float(net(x, t, y).abs().max()) == 0
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    before = {k: v.clone() for k, v in net.named_parameters()}
    for _ in range(4):  # gates open from the last map backwards
        optimizer.zero_grad()
        ((net(x, t, y) - x) ** 2).mean().backward()
        optimizer.step()
    assert [k for k, v in net.named_parameters() if torch.equal(v, before[k])] == []


def test_zero_gates_make_a_block_the_identity() -> None:
    block = Transformer(SMALL).blocks[0]
    x = noise(2, 16, 16, dtype=torch.float32)
    assert torch.equal(block(x, torch.ones(2, 16)), x)


def test_patches_are_put_back_where_they_were() -> None:
    """With blocks that do nothing each patch is mapped by itself."""
    net = shaken()
    for block in net.blocks:
        nn.init.zeros_(block.adapt.weight)
        nn.init.zeros_(block.adapt.bias)
    x, t = noise(1, 2, 8, 8, dtype=torch.float32), torch.tensor([5])
    y = x.clone()
    y[:, :, 2:4, 6:8] += 1  # one patch
    changed = (net(x, t) != net(y, t)).any(1)[0]
    assert bool(changed[2:4, 6:8].all())
    assert int(changed.sum()) == 4


def test_blocks_look_at_every_patch_and_places_tell_them_apart() -> None:
    net, t = shaken(), torch.tensor([5])
    x = noise(1, 2, 8, 8, dtype=torch.float32)
    y = x.clone()
    y[:, :, :2, :2] += 1
    assert bool((net(x, t) != net(y, t)).any(1).all())
    even = net(torch.zeros(1, 2, 8, 8), t)
    assert not torch.allclose(even[..., :2, :2], even[..., 2:4, :2])
    assert not torch.allclose(even[..., :2, :2], even[..., :2, 2:4])


def test_other_sizes_and_shapes_fit() -> None:
    net = shaken()
    assert net(torch.zeros(3, 2, 4, 12), torch.arange(3)).shape == (3, 2, 4, 12)
    assert net(torch.zeros(0, 2, 8, 8), torch.arange(0)).shape == (0, 2, 8, 8)
    torch.testing.assert_close(
        places(3, 5, 8)[7], places(1, 3, 8)[2] + places(2, 1, 8)[1] - places(1, 1, 8)[0]
    )
    assert shaken().double()(torch.zeros(1, 2, 8, 8), torch.ones(1)).dtype == torch.float64


def test_layer_norm_is_adaptive() -> None:
    x, shift, scale = noise(2, 3, 8), noise(2, 1, 8, seed=1), noise(2, 1, 8, seed=2)
    normal = (x - x.mean(2, keepdim=True)) / (x.var(2, correction=0, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(modulated(x, shift, scale), normal * (1 + scale) + shift)


def test_labels_are_dropped_in_training_alone() -> None:
    net = shaken(replace(LABELLED, label_dropout=1.0))
    x, t = noise(3, 2, 8, 8, dtype=torch.float32), torch.full((3,), 9)
    y, none = torch.tensor([0, 1, 2]), torch.full((3,), 3)
    with torch.no_grad():
        assert not torch.allclose(net(x, t, y), net(x, t, none))
        assert torch.equal(net.train()(x, t, y), net(x, t, none))


def test_diffusers_dit_answers_the_same() -> None:
    diffusers = pytest.importorskip("diffusers", reason="parity needs diffusers")
    config = TransformerConfig(8, 3, 6, patch=2, width=32, depth=2, heads=4, num_classes=5)
    net = shaken(config)
    theirs: Any = diffusers.DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=3,
        out_channels=6,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=5,
        norm_num_groups=1,
    ).eval()
    w = net.state_dict()

    def put(module: Any, name: str) -> None:
        module.weight.data.copy_(w[f"{name}.weight"].reshape(module.weight.shape))
        if module.bias is not None:
            module.bias.data.copy_(w[f"{name}.bias"])

    put(theirs.pos_embed.proj, "patch_in")
    for i, block in enumerate(theirs.transformer_blocks):
        told = block.norm1.emb
        told.time_proj.downscale_freq_shift = 0  # the frequencies of DiT's own code
        put(told.timestep_embedder.linear_1, "time.0")
        put(told.timestep_embedder.linear_2, "time.2")
        told.class_embedder.embedding_table.weight.data.copy_(w["labels.weight"])
        # theirs are (b1, a1, g1, b2, a2, g2), too
        put(block.norm1.linear, f"blocks.{i}.adapt")
        for j, part in enumerate((block.attn1.to_q, block.attn1.to_k, block.attn1.to_v)):
            for kind in ("weight", "bias"):
                rows = w[f"blocks.{i}.qkv.{kind}"].chunk(3)[j]
                getattr(part, kind).data.copy_(rows)
        put(block.attn1.to_out[0], f"blocks.{i}.proj")
        put(block.ff.net[0].proj, f"blocks.{i}.mlp.0")
        put(block.ff.net[2], f"blocks.{i}.mlp.2")
    put(theirs.proj_out_1, "adapt")
    # our pixels come channel by channel, theirs place by place
    for kind in ("weight", "bias"):
        rows = w[f"patch_out.{kind}"].unflatten(0, (6, 4)).transpose(0, 1).flatten(0, 1)
        getattr(theirs.proj_out_2, kind).data.copy_(rows)
    x, t = noise(4, 3, 8, 8, dtype=torch.float32), torch.tensor([0, 1, 500, 999])
    y = torch.tensor([0, 4, 5, 2])  # 5 is the null class
    with torch.no_grad():
        them = theirs(x, timestep=t, class_labels=y).sample
        torch.testing.assert_close(net(x, t, y), them, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variance", ["small", "learned"])
def test_it_serves_in_a_denoiser_and_is_guided(variance: str) -> None:
    net = shaken(replace(LABELLED, out_channels=4 if variance == "learned" else 2))
    model = Denoiser(net, Schedule.cosine(50), variance=variance).eval()
    assert (model.num_classes, model.null_label) == (3, 3)
    x_T, y = noise(2, 2, 8, 8, dtype=torch.float32), torch.tensor([0, 2])
    guided = md.guide(model, y, w=1.0)
    *_, last = md.ancestral(guided, x_T, 5, generator=seeded())
    assert bool(last.x.isfinite().all())


def test_weights_are_saved_and_built_again(tmp_path: Path) -> None:
    model = Denoiser(shaken(LABELLED), Schedule.flow(50), "u").eval()
    path = tmp_path / "dit.safetensors"
    md.save_weights(path, model)
    again = md.load_pretrained(path)
    x, y = noise(2, 2, 8, 8, dtype=torch.float32), torch.tensor([0, 3])
    assert again.net.config == LABELLED
    assert torch.equal(again(x, 7, labels=y).x0, model(x, 7, labels=y).x0)
    other = Denoiser(Transformer(replace(LABELLED, heads=2)), Schedule.flow(50), "u")
    with pytest.raises(CheckpointError, match="heads is 2 instead of 4"):
        md.load_weights(path, other)
    unet = Denoiser(md.UNet.digits(in_channels=2, out_channels=2), Schedule.flow(50), "u")
    with pytest.raises(CheckpointError, match="another architecture"):
        md.load_weights(path, unet)


def test_it_is_trained_and_resumed(tmp_path: Path) -> None:
    config = md.TrainConfig(steps=4, batch=8, sample_every=4, validate_every=4, T=50)
    net = lambda: Transformer(replace(SMALL, in_channels=1, out_channels=1))  # noqa: E731
    model = Denoiser(net(), Schedule.linear(50), variance="large")
    md.train(config, tmp_path, model=model, bar=False)
    assert md.load_pretrained(tmp_path).net.config.patch == 2
    longer = Denoiser(net(), Schedule.linear(50), variance="large")
    with pytest.warns(UserWarning, match="steps"):
        md.train(replace(config, steps=6), tmp_path, model=longer, resume=True, bar=False)


def test_a_config_names_it(tmp_path: Path) -> None:
    options = {"patch": 3, "width": 16, "depth": 2, "heads": 4}
    config = md.TrainConfig(network="transformer", network_options=options, size=12, steps=2, T=50)
    model = md.train(config, tmp_path, bar=False)
    assert model.net.config.patches == 16
    assert md.load_pretrained(tmp_path).net.config == model.net.config
    for wrong, message in (
        ({"dropout": 0.1}, "there is no setting 'dropout'"),
        ({"size": 8}, "size follows from the data"),
        ({"patch": 0}, "patch must be a whole number of at least 1"),
        ({"heads": 5}, "of heads = 5"),
    ):
        with pytest.raises(ValueError, match=f"network_options: .*{message}"):
            md.TrainConfig(network="transformer", network_options=wrong)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TransformerConfig(patch=3), "size must be a multiple of patch = 3, got 32"),
        (lambda: TransformerConfig(width=10, heads=2), "width must be a multiple of 4"),
        (lambda: TransformerConfig(width=12, heads=5), "of heads = 5, got 12"),
        (lambda: TransformerConfig(depth=0), "depth must be a whole number of at least 1"),
        (lambda: TransformerConfig(num_classes=(3, 2)), "num_classes must be a whole number"),  # type: ignore[arg-type]
        (lambda: TransformerConfig(time="learned"), "needs an input of order one"),
        (lambda: shaken()(torch.zeros(1, 2, 7, 8), torch.ones(1)), "cut into patches of 2×2"),
        (lambda: shaken()(torch.zeros(1, 3, 8, 8), torch.ones(1)), "takes 2 channels"),
        (lambda: shaken()(torch.zeros(1, 2, 8, 8), torch.ones(2)), "one entry per image"),
        (lambda: shaken(LABELLED)(torch.zeros(1, 2, 8, 8), torch.ones(1)), "is conditional"),
        (
            lambda: shaken()(torch.zeros(1, 2, 8, 8), torch.ones(1), x_self=torch.zeros(1)),
            "x_self needs self_cond=True",
        ),
    ],
)
def test_bad_input_is_told_what_to_do(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call()
