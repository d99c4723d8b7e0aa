"""Files of weights: whole or refused, and never a pickle."""

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import Forks

from minidiff.denoiser import Denoiser
from minidiff.engine import tensorfile
from minidiff.engine.checkpoint import (
    CheckpointError,
    available,
    latest,
    load_pretrained,
    load_weights,
    read,
    save_weights,
    write,
)
from minidiff.engine.int8 import pack, unpack
from minidiff.engine.match import check_moments
from minidiff.schedule import Schedule
from minidiff.unet.compat import unet_from_diffusers, unet_to_diffusers
from minidiff.unet.network import UNet
from minidiff.unet.read import read_state


def _model(seed: int = 0, **changes: object) -> Denoiser:
    torch.manual_seed(seed)
    net = UNet.digits(**{"width": 8, "mults": (1,), "attention": (), "blocks": 1, **changes})
    return Denoiser(net, Schedule.cosine(50), predict="v", variance="large")


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Denoiser]:
    path, model = tmp_path / "model.safetensors", _model()
    save_weights(path, model, card={"data": "none"})
    return path, model


def test_a_model_comes_back_exactly(saved: tuple[Path, Denoiser]) -> None:
    path, model = saved
    again = load_pretrained(path)
    assert not again.training
    assert (again.predict, again.variance, again.clip) == ("v", "large", True)
    assert torch.equal(again.schedule.alpha_bar, model.schedule.alpha_bar)
    for (name, a), b in zip(
        model.net.state_dict().items(), again.net.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    info = load_weights(path, _model(seed=1))
    assert info["card"] == {"data": "none"}
    assert json.dumps(info)
    assert load_pretrained(path, dtype=torch.float64).net.conv_in.weight.dtype == torch.float64


@pytest.mark.parametrize("way", ["ours", "diffusers'"])
def test_loading_draws_no_weights(way: str, saved: tuple[Path, Denoiser]) -> None:
    path, model = saved
    config, state = unet_to_diffusers(model.net)
    before = torch.get_rng_state()
    again = load_pretrained(path).net if way == "ours" else unet_from_diffusers(config, state)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in model.net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_loading_starts_no_compiler() -> None:
    """PyTorch fetches its compiler for some sums of `meta` tensors, and that takes a second."""
    code = """
import sys
from minidiff.engine.checkpoint import available, load_pretrained
for name in available():
    load_pretrained(name)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_an_x0_hook_is_not_stored_in_silence(tmp_path: Path) -> None:
    model = _model()
    model.clip = lambda x0, t: x0
    with pytest.raises(CheckpointError, match=r"set model\.clip to True or False"):
        save_weights(tmp_path / "model.safetensors", model)
    assert not list(tmp_path.iterdir())


def test_a_learned_variance_begins_with_weights_that_have_none(
    saved: tuple[Path, Denoiser],
) -> None:
    """The prediction stays, and the variance begins halfway, in log, between the two fixed ones."""
    path, fixed = saved
    torch.nn.init.normal_(fixed.net.conv_out.weight, std=0.1)  # zero at first
    save_weights(path, fixed)
    learned = Denoiser(_model(seed=1, out_channels=2).net, fixed.schedule, "v", "learned")
    load_weights(path, learned)
    for model in (fixed, learned):
        model.double().eval()  # no dropout, and rounding can be told from error
    g = torch.Generator().manual_seed(0)
    x, t = torch.randn(2, 1, 8, 8, generator=g, dtype=torch.float64), 30
    with torch.no_grad():
        torch.testing.assert_close(learned(x, t).x0, fixed(x, t).x0)
        assert fixed(x, t).raw.std() > 0.01
        logs = []
        for fixed.variance in ("small", "large"):
            logs.append(fixed.reverse(x, t, t - 1).var.log())
        found = learned.reverse(x, t, t - 1).var.log()
        torch.testing.assert_close(found, ((logs[0] + logs[1]) / 2).expand(x.shape))
    with pytest.raises(CheckpointError, match="another architecture"):
        load_weights(path, _model(out_channels=2))  # a fixed variance has no use for more channels


def test_int8_is_small_and_close(tmp_path: Path) -> None:
    model = _model(width=32)
    whole, small = tmp_path / "whole.safetensors", tmp_path / "small.safetensors"
    save_weights(whole, model)
    save_weights(small, model, quantize="int8")
    assert small.stat().st_size < 0.35 * whole.stat().st_size
    again = load_pretrained(small)
    for (name, a), b in zip(
        model.net.state_dict().items(), again.net.state_dict().values(), strict=True
    ):
        if a.ndim >= 2:
            step = a.flatten(1).abs().amax(1) / 127
            error = (a - b).flatten(1).abs().amax(1)
            assert bool((error <= step * 0.5001 + 1e-12).all()), name
        else:
            assert torch.equal(a, b), name
    with pytest.raises(ValueError, match="quantize"):
        save_weights(small, model, quantize="int4")


def test_the_convolutions_at_both_ends_are_not_rounded() -> None:
    """They hold a five-thousandth of the weights and would bring most of the error into ε."""
    net = UNet.cifar10()
    packed = pack(net.state_dict())
    for name in ("conv_in.weight", "conv_out.weight"):
        assert torch.equal(packed[name], net.state_dict()[name])
    rounded = sum(t.numel() for t in packed.values() if t.dtype == torch.int8)
    assert rounded > 0.99 * sum(p.numel() for p in net.parameters())


def test_named_layers_keep_16_bits(saved: tuple[Path, Denoiser], tmp_path: Path) -> None:
    """Each number to a 2048th of itself, where 8 bits give a 254th of the largest."""
    _, model = saved
    weights = model.net.named_parameters()
    name, w = next((k, v) for k, v in weights if v.ndim == 4 and k.startswith("up."))
    path = tmp_path / "mixed.safetensors"
    save_weights(path, model, quantize="int8", half=[name.rpartition(".")[0]])
    stored, _ = read(path)
    assert stored[name].dtype == torch.float16
    assert f"{name}:scale" not in stored
    assert sum(t.dtype == torch.int8 for t in stored.values()) > 5
    again = load_pretrained(path).net.state_dict()[name]
    assert again.dtype == torch.float32
    assert torch.allclose(again, w, rtol=2**-11, atol=1e-7)
    with pytest.raises(ValueError, match="no weight"):
        save_weights(path, model, quantize="int8", half=["upp"])
    with pytest.raises(ValueError, match="both"):
        save_weights(path, model, half=["up"])


def test_every_flipped_byte_is_noticed(saved: tuple[Path, Denoiser], tmp_path: Path) -> None:
    """2 bytes in each hundredth of the file, and the whole beginning."""
    path, _ = saved
    good = path.read_bytes()
    header = int.from_bytes(good[:8], "little")
    padding = len(good[8 : 8 + header]) - len(good[8 : 8 + header].rstrip())
    places = [*range(0, 300, 7), *range(300, len(good), len(good) // 100)]
    bad = tmp_path / "bad.safetensors"
    for place in places:
        if 8 + header - padding <= place < 8 + header:
            continue  # blanks at the end of the header say nothing
        bytes_ = bytearray(good)
        bytes_[place] ^= 1 << (place % 8)
        bad.write_bytes(bytes_)
        with pytest.raises(CheckpointError):
            read(bad)


@pytest.mark.parametrize(
    ("share", "word"),
    [(0.0, "is empty"), *((share, "damaged") for share in (0.001, 0.3, 0.99, 0.99999))],
)
def test_a_file_cut_short_is_refused(saved: tuple[Path, Denoiser], share: float, word: str) -> None:
    path, _ = saved
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=word):
        load_pretrained(path)


def test_another_architecture_is_named(saved: tuple[Path, Denoiser]) -> None:
    path, _ = saved
    with pytest.raises(CheckpointError, match=r"another architecture: .*conv_in.weight is \(8, 1"):
        load_weights(path, _model(width=16))
    with pytest.raises(CheckpointError, match=r"lacks down\.1.*and \d+ more"):
        load_weights(path, _model(blocks=2))


def test_pickles_are_never_read(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    for name, data in [("a.pt", Trap()), ("b.safetensors", Trap())]:
        path = tmp_path / name
        path.write_bytes(pickle.dumps(data))
        with pytest.raises(CheckpointError, match="pickle"):
            load_pretrained(path)
    torch.save({"w": torch.zeros(1)}, tmp_path / "c.pt")  # a zip file
    with pytest.raises(CheckpointError, match="pickle"):
        load_pretrained(tmp_path / "c.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("length", [640, 896, 1152, 1408, 19280])
def test_a_header_that_begins_like_a_pickle_is_none(tmp_path: Path, length: int) -> None:
    """A safetensors file begins with the length of its header, low byte first."""
    path = tmp_path / "w.safetensors"
    write(path, {"w": torch.ones(3)}, {"note": ""})
    note = "x" * (length - int.from_bytes(path.read_bytes()[:8], "little"))
    write(path, {"w": torch.ones(3)}, {"note": note})
    assert path.read_bytes()[:8] == length.to_bytes(8, "little")
    tensors, info = read(path)
    assert tensors["w"].tolist() == [1, 1, 1]
    assert info["note"] == note


def test_foreign_and_newer_files(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="minidiff did not write it"):
        load_pretrained(tmp_path / "foreign.safetensors")
    write(tmp_path / "new.safetensors", {"w": torch.zeros(1)}, {"format": 99})
    with pytest.raises(CheckpointError, match="update"):
        read(tmp_path / "new.safetensors")


def test_a_network_of_ones_own(tmp_path: Path) -> None:
    model = Denoiser(torch.nn.Linear(2, 2), Schedule.linear(50))
    save_weights(tmp_path / "own.safetensors", model)
    with pytest.raises(CheckpointError, match="build that network yourself"):
        load_pretrained(tmp_path / "own.safetensors")
    other = Denoiser(torch.nn.Linear(2, 2), Schedule.linear(50))
    load_weights(tmp_path / "own.safetensors", other)
    assert torch.equal(model.net.weight, other.net.weight)


def test_missing_weights_are_one_sentence(tmp_path: Path) -> None:
    for name in ("no-such-model", tmp_path / "no.safetensors", "./no"):
        with pytest.raises(CheckpointError, match=r"no weights called .*shipped are") as error:
            load_pretrained(name)
        assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        load_pretrained(tmp_path)


def test_a_state_of_a_later_version_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passed over, it would be renamed, and the run would go back to an older one."""
    write(tmp_path / "step-000000001.safetensors", {"w": torch.ones(1)}, {"step": 1})
    monkeypatch.setattr("minidiff.engine.tensorfile.FORMAT", 7)
    write(tmp_path / "step-000000002.safetensors", {"w": torch.ones(1)}, {"step": 2})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has format 7, this minidiff reads up to 1: update"):
        latest(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:a", "git lfs pull"),
        ("<!DOCTYPE html>", "a page of the web"),
        ('{"a": 1}', "a text in JSON"),
        ("", "is empty"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_what_came_in_place_of_weights_is_named(
    tmp_path: Path, content: str, words: str, suffix: str
) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_text(content)
    with pytest.raises(ValueError, match=words):
        read(path)
    with pytest.raises(ValueError, match=words):
        read_state(path)


def test_latest_passes_over_what_is_broken(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write(tmp_path / f"step-{step:09d}.safetensors", {"w": torch.ones(9) * step}, {})
    newest = tmp_path / "step-000000003.safetensors"
    newest.write_bytes(newest.read_bytes()[:-4])
    with pytest.warns(UserWarning, match=r"3\.safetensors is damaged .*passed over"):
        assert latest(tmp_path).name == "step-000000002.safetensors"
    for path in tmp_path.glob("step-*"):
        path.write_bytes(b"")
    passed = pytest.warns(UserWarning, match="passed over")
    with passed, pytest.raises(CheckpointError, match="all are damaged"):
        latest(tmp_path)


def test_a_full_disk_leaves_the_older_file(tmp_path: Path, forks: Forks) -> None:
    """The limit on the size of a file stands in for the end of the disk."""
    path = tmp_path / "w.safetensors"
    write(path, {"w": torch.ones(10)}, {"version": "old"})
    code = f"""
import resource, sys, torch
sys.dont_write_bytecode = True  # it would be cut short, and kept
from minidiff.engine.checkpoint import CheckpointError, write
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write({str(path)!r}, {{"w": torch.ones(100_000)}}, {{"version": "new"}})
except CheckpointError as error:
    print(error)
"""
    done = forks.run("-c", code)
    assert done.returncode == 0, done.stderr
    assert "could not write" in done.stdout
    assert "File too large" in done.stdout
    assert read(path)[1]["version"] == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As does a disk that can't flush a folder: that is no reason to lose the file."""
    path = tmp_path / "w.safetensors"
    real, calls = os.fsync, []

    def fsync(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 1:
            raise KeyboardInterrupt
        if len(calls) == 3:
            raise OSError(errno.EINVAL, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(KeyboardInterrupt):
        write(path, {"w": torch.ones(1)}, {})
    assert os.listdir(tmp_path) == []
    write(path, {"w": torch.ones(1)}, {})
    assert len(calls) == 3
    assert read(path)[0]["w"] == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not write"):
        write(tmp_path / "file" / "w.safetensors", {"w": torch.ones(1)}, {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CheckpointError, match="could not write"):
        write(tmp_path / "w.safetensors", {"w": torch.ones(1)}, {})


def test_killed_in_the_middle_of_a_write(tmp_path: Path, forks: Forks) -> None:
    """A process that dies while it replaces a file again and again leaves a whole file."""
    path = tmp_path / "w.safetensors"
    write(path, {"w": torch.zeros(1)}, {"n": 0})
    code = f"""
import torch
from minidiff.engine.checkpoint import write
for n in range(1, 10**9):
    write({str(path)!r}, {{"w": torch.full((200_000,), n)}}, {{"n": n}})
    print(n, flush=True)
"""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as out:
        process = forks.start("-c", code, streams={1: out, 2: out})
    with os.fdopen(reading) as said:
        for _ in range(20):
            said.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    tensors, info = read(path)
    assert info["n"] >= 20
    assert tensors["w"].tolist() == [info["n"]] * 200_000


def test_what_ships_can_be_loaded() -> None:
    for name in available():
        model = load_pretrained(name)
        assert sum(p.numel() for p in model.net.parameters()) > 0


@pytest.mark.parametrize("wrap", [torch.compile, torch.nn.DataParallel])
def test_wrapped_networks_are_saved_unwrapped(tmp_path: Path, wrap: Any) -> None:
    model = _model()
    weights = {k: v.clone() for k, v in model.net.state_dict().items()}
    model.net = wrap(model.net)
    save_weights(tmp_path / "a.safetensors", model)
    again = load_pretrained(tmp_path / "a.safetensors")
    assert all(torch.equal(v, weights[k]) for k, v in again.net.state_dict().items())
    other = _model(seed=1)
    other.net = wrap(other.net)
    load_weights(tmp_path / "a.safetensors", other)  # and into a wrapped one
    assert all(torch.equal(v, weights[k]) for k, v in other.network.state_dict().items())


def test_a_compiled_part_of_a_network(tmp_path: Path) -> None:
    model = _model()
    model.net.down[0] = torch.compile(model.net.down[0])
    save_weights(tmp_path / "a.safetensors", model)
    assert not any("_orig_mod" in name for name in read(tmp_path / "a.safetensors")[0])
    load_weights(tmp_path / "a.safetensors", model)
    assert load_pretrained(tmp_path / "a.safetensors").schedule.T == 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": 4}, "groups is 4 instead of 8"),
        ({"head_dim": 4}, r"head_width is \{8: 4\} instead of \{8: 8\}"),
        ({"eps": 1e-3}, "eps is 0.001 instead of 1e-06"),
        ({"clock": 0.5}, "clock is 0.5 instead of 1.0"),
    ],
)
def test_equal_shapes_are_not_enough(
    saved: tuple[Path, Denoiser], changes: dict[str, Any], message: str
) -> None:
    other = _model(seed=1, **changes)
    before = {k: v.clone() for k, v in other.net.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"another architecture: {message}"):
        load_weights(saved[0], other)
    assert all(torch.equal(v, before[k]) for k, v in other.net.state_dict().items())
    load_weights(saved[0], _model(seed=1, dropout=0.5))  # what does not change the answers may


def test_another_schedule_is_told(saved: tuple[Path, Denoiser]) -> None:
    other = Denoiser(_model().net, Schedule.linear(50), predict="v")
    with pytest.warns(UserWarning, match="another noise schedule"):
        load_weights(saved[0], other)


def test_the_same_schedule_is_not_told_of(saved: tuple[Path, Denoiser]) -> None:
    """In a file its settings are sorted."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_weights(saved[0], _model(seed=1))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("network", "blocks"), 10**9),
        (("network", "width"), 2**40),
        (("network", "mults"), [2**62]),
        (("network", "width"), "wide"),
        (("network", "surprise"), 1),
        (("network",), [1, 2]),
        (("network",), "UNet"),
        (("schedule",), {"kind": "linear", "T": 10**9}),
        (("schedule",), {"kind": ["linear"]}),
        (("schedule",), {"T": 50}),
        (("schedule",), None),
        (("schedule", "surprise"), 1),
        (("predict",), "everything"),
        (("predict",), {"a": 1}),
        (("variance",), None),
        (("clip",), "yes"),
        (("clip",), ...),  # missing
        (("predict",), ...),
        (("schedule",), ...),
        (("step",), 3),  # a state without an average
    ],
)
def test_descriptions_are_not_believed(
    saved: tuple[Path, Denoiser], path: tuple[str, ...], value: Any
) -> None:
    """Each is refused in one short sentence, before memory is taken."""
    tensors, info = read(saved[0])
    place = info
    for name in path[:-1]:
        place = place[name]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    write(saved[0], tensors, info)
    with pytest.raises(CheckpointError) as error:
        load_pretrained(saved[0])
    assert len(str(error.value)) < 700
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "3", "{", '{"format": "1"}', "{}"])
def test_crafted_json(tmp_path: Path, text: str) -> None:
    from safetensors.torch import save_file

    tensors = {"w": torch.zeros(1)}
    metadata = {"minidiff": text, "sha256": tensorfile._digest(tensors, text)}
    save_file(tensors, tmp_path / "w.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match="its description"):
        read(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("name", "shape"), [("w:scale", (1000, 1)), ("w:scale", (3,)), ("v:scale", (3, 1))]
)
def test_crafted_scales_take_no_memory(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match="scale"):
        unpack({"w": torch.zeros(3, 4, dtype=torch.int8), name: torch.ones(shape)})


def test_moments_are_there_for_every_parameter_or_for_none() -> None:
    net = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    good = {
        f"adam/{name}/{k}": v
        for name, p in net.named_parameters()
        for k, v in optimizer.state[p].items()
    }
    check_moments(net, good, "state")
    check_moments(net, {}, "state")  # of step 0
    for name in good:
        with pytest.raises(CheckpointError, match=f"{name} is missing"):
            check_moments(net, {k: v for k, v in good.items() if k != name}, "state")
        with pytest.raises(CheckpointError, match=f"{name} is of shape"):
            check_moments(net, {**good, name: torch.ones(7)}, "state")
    scalar = {**good, "adam/weight/exp_avg": torch.tensor(1.0)}
    with pytest.raises(CheckpointError, match=r"exp_avg is of shape \(\)"):
        check_moments(net, scalar, "state")
    with pytest.raises(CheckpointError, match="adam/other/step is unknown"):
        check_moments(net, {**good, "adam/other/step": torch.ones(())}, "state")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["conv_in.bias", "norm_out.weight"])
def test_weights_that_are_no_numbers_are_refused(name: str, number: float, tmp_path: Path) -> None:
    path, model = tmp_path / "x.safetensors", _model()
    model.net.state_dict()[name].view(-1)[0] = number
    for form in ({}, {"quantize": "int8", "half": ["conv_out"]}):
        save_weights(path, model, **form)
        for load in (load_pretrained, read, lambda file: load_weights(file, _model())):
            with pytest.raises(CheckpointError, match=rf"holds NaN or infinity .*{name}.*diverged"):
                load(path)


def test_a_state_of_nan_is_passed_over(tmp_path: Path) -> None:
    good = {"net/a": torch.zeros(2), "skipped": torch.zeros(2)}
    write(tmp_path / "step-000000001.safetensors", good, {"step": 1})
    for part in good:
        bad = {**good, part: torch.full((2,), torch.nan)}
        write(tmp_path / "step-000000002.safetensors", bad, {"step": 2})
        with pytest.warns(UserWarning, match=f"2.safetensors holds NaN.* {part} is.*passed over"):
            assert latest(tmp_path).name == "step-000000001.safetensors"
