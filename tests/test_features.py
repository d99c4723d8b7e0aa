"""Feature extractors: shapes, names, digests, and the refusals; real weights where they are."""

import hashlib
import os
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from minidiff.data.download import DownloadError
from minidiff.data.sets import load
from minidiff.measure import features as features_module
from minidiff.measure.features import Classifier, Inception768, InceptionFID, fold

WEIGHTS = Path(__file__).parent.parent / "minidiff" / "weights"


@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("classifier_*")), ids=lambda p: p.stem)
def test_shipped_classifiers(path):
    assert path.stat().st_size <= 300_000
    name = path.stem.removeprefix("classifier_")
    net = Classifier.load(name)
    assert len(net.digest) == 64
    assert not any(p.requires_grad for p in net.parameters())
    features, probs = net(torch.zeros(3, 1, net.size, net.size, dtype=torch.uint8))
    assert features.shape == (3, 64)
    torch.testing.assert_close(probs.sum(1), torch.ones(3))


def test_digits_classifier_knows_its_digits():
    test = load("digits", "test")
    with torch.inference_mode():
        _, probs = Classifier.load("digits")(test.images)
    assert (probs.argmax(1) == test.labels).float().mean() > 0.98


def test_classifier_ignores_padding_and_refuses_colour():
    net = Classifier.load("fashion")
    x = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    padded = torch.nn.functional.pad(x, (2,) * 4)
    assert torch.equal(net(x)[0], net(padded)[0])
    with pytest.raises(ValueError, match="grey images"):
        net(x.expand(-1, 3, -1, -1))
    for wrong in (x[..., :8, :8], x[..., :27], torch.nn.functional.pad(x, (14,) * 4)):
        with pytest.raises(ValueError, match="with an even margin, got"):
            net(wrong)
    with pytest.raises(ValueError, match=r"digits, fashion.*got 'cifar10': take inception2048"):
        Classifier.load("cifar10")


def real_inception() -> Inception768:
    root = os.environ.get("MINIDIFF_DATA")
    path = Path(root or ".") / "inception768" / "inception768.safetensors"
    if not path.exists():
        pytest.skip("FID-768 needs MINIDIFF_DATA with inception768/ in it")
    return Inception768.load(path)


def test_inception768_on_real_weights():
    net = real_inception()
    x = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    features, probs = net(x)
    assert features.shape == (2, 768)
    assert probs is None
    assert len(list(net.buffers())) == 140
    assert sum(b.numel() for b in net.buffers()) == 8_956_448
    one, _ = net(x[:1])
    torch.testing.assert_close(one[0], features[0], rtol=1e-4, atol=1e-5)
    grey, _ = net(x[:, :1])
    torch.testing.assert_close(grey, net(x[:, :1].repeat(1, 3, 1, 1))[0])


def unfolded() -> dict[str, torch.Tensor]:
    """A 2015 Inception of random weights, its tensors named and shaped as in the public file."""
    shapes = {"Conv2d_1a_3x3": (32, 3, 3, 3), "Conv2d_2a_3x3": (32, 32, 3, 3)}
    shapes |= {"Conv2d_2b_3x3": (64, 32, 3, 3), "Conv2d_3b_1x1": (80, 64, 1, 1)}
    shapes |= {"Conv2d_4a_3x3": (192, 80, 3, 3)}
    for block, c, pool in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        shapes |= {
            f"Mixed_{block}.branch1x1": (64, c, 1, 1),
            f"Mixed_{block}.branch5x5_1": (48, c, 1, 1),
            f"Mixed_{block}.branch5x5_2": (64, 48, 5, 5),
            f"Mixed_{block}.branch3x3dbl_1": (64, c, 1, 1),
            f"Mixed_{block}.branch3x3dbl_2": (96, 64, 3, 3),
            f"Mixed_{block}.branch3x3dbl_3": (96, 96, 3, 3),
            f"Mixed_{block}.branch_pool": (pool, c, 1, 1),
        }
    shapes |= {
        "Mixed_6a.branch3x3": (384, 288, 3, 3),
        "Mixed_6a.branch3x3dbl_1": (64, 288, 1, 1),
        "Mixed_6a.branch3x3dbl_2": (96, 64, 3, 3),
        "Mixed_6a.branch3x3dbl_3": (96, 96, 3, 3),
    }
    for block, c in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        shapes |= {
            f"Mixed_{block}.branch1x1": (192, 768, 1, 1),
            f"Mixed_{block}.branch7x7_1": (c, 768, 1, 1),
            f"Mixed_{block}.branch7x7_2": (c, c, 1, 7),
            f"Mixed_{block}.branch7x7_3": (192, c, 7, 1),
            f"Mixed_{block}.branch7x7dbl_1": (c, 768, 1, 1),
            f"Mixed_{block}.branch7x7dbl_2": (c, c, 7, 1),
            f"Mixed_{block}.branch7x7dbl_3": (c, c, 1, 7),
            f"Mixed_{block}.branch7x7dbl_4": (c, c, 7, 1),
            f"Mixed_{block}.branch7x7dbl_5": (192, c, 1, 7),
            f"Mixed_{block}.branch_pool": (192, 768, 1, 1),
        }
    shapes |= {"Mixed_7a.branch3x3_1": (192, 768, 1, 1)}  # and more, which FID-768 has no use for
    g = torch.Generator().manual_seed(0)
    weights = {"fc.weight": torch.zeros(1008, 4), "fc.bias": torch.zeros(1008)}
    for name, shape in shapes.items():
        fan_in = shape[1] * shape[2] * shape[3]
        weights[f"{name}.conv.weight"] = torch.randn(shape, generator=g) * (2 / fan_in) ** 0.5
        for part, low in (("weight", 0.5), ("bias", -0.2), ("running_mean", -0.2)):
            weights[f"{name}.bn.{part}"] = low + torch.rand(shape[0], generator=g)
        weights[f"{name}.bn.running_var"] = 0.5 + torch.rand(shape[0], generator=g)
        weights[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    return weights


class NotFolded(Inception768):
    """The same network as it was trained: PyTorch's batch norm behind each convolution."""

    def _conv(self, name, x, *, stride=1, same=True):
        w = {k: self._buffers[f"{name.replace('.', '/')}/{k}"] for k in self.parts}
        padding = [k // 2 for k in w["conv/weight"].shape[2:]] if same else 0
        x = torch.nn.functional.conv2d(x, w["conv/weight"], None, stride, padding)
        mean, var, scale, shift = (w[f"bn/{k}"] for k in self.norm)
        return torch.nn.functional.batch_norm(x, mean, var, scale, shift, eps=1e-3).relu()

    norm = ("running_mean", "running_var", "weight", "bias")
    parts = ("conv/weight", *(f"bn/{k}" for k in norm))


def test_fid768_reads_the_file_that_fid_reads(tmp_path, monkeypatch):
    """Batch norm folded in gives the features of the network that has it still."""
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path))
    path = tmp_path / "inception2048" / "weights-inception-2015-12-05-6726825d.pth"
    path.parent.mkdir()
    torch.save(unfolded(), path)
    with pytest.raises(DownloadError, match="sha256"):  # it is not the real one
        Inception768.load()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(features_module, "_INCEPTION_SHA256", digest)
    net, true = Inception768.load(), NotFolded(unfolded())
    assert len(list(net.buffers())) == 140
    assert sum(b.numel() for b in net.buffers()) == 8_956_448
    x = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    found, expected = net(x)[0], true(x)[0]
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_folded_copy_has_the_names_of_the_public_file():
    real = real_inception()
    mine = fold(unfolded())
    names = {k.replace(".", "/"): v.shape for k, v in mine.items() if "Mixed_7" not in k}
    assert {k: v.shape for k, v in real.named_buffers()} == names


@pytest.mark.parametrize("network", [Inception768, InceptionFID])
def test_without_the_file_it_is_said_which_from_where_and_whereto(network, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path))
    monkeypatch.setattr(features_module, "_INCEPTION", "http://127.0.0.1:9/inception.pth")
    monkeypatch.setattr(features_module, "_fidelity", lambda: None)
    with pytest.raises(DownloadError) as caught:
        network.load()
    for word in (
        "http://127.0.0.1:9/inception.pth",
        str(tmp_path / "inception2048"),
        "pt_inception-2015-12-05-6726825d.pth",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ):
        assert word in str(caught.value)


def test_inception768_refuses_altered_weights(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(DownloadError, match="sha256"):
        Inception768.load(tmp_path / "w.safetensors")


class StandIn(torch.nn.Module):
    """Has the interface of torch-fidelity's network, and one weight."""

    def __init__(self, name, features_list, feature_extractor_weights_path):
        super().__init__()
        assert features_list == ["2048", "logits_unbiased"]
        state = torch.load(feature_extractor_weights_path, weights_only=True)
        self.w = torch.nn.Parameter(state["w"])

    def forward(self, x):
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        pooled = x.float().mean((2, 3)) @ self.w
        return pooled, pooled[:, :1008]


def test_fid_through_a_stand_in_for_the_library(monkeypatch):
    package = types.ModuleType("torch_fidelity")
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = StandIn
    package.feature_extractor_inceptionv3 = module
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    net = InceptionFID({"w": torch.randn(3, 2048)})
    features, probs = net(torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8))
    assert features.shape == (4, 2048)
    torch.testing.assert_close(probs.sum(1), torch.ones(4))
    assert (net.frechet_name, net.score_name) == ("FID", "IS")


def test_fid_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ImportError, match="pip install torch-fidelity"):
        InceptionFID({})
