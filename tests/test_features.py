"""Feature extractors: shapes, names, digests, and the refusals; real weights where they are."""

import os
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from minidiff.data.download import DownloadError
from minidiff.data.sets import load
from minidiff.measure.features import Classifier, Inception768, InceptionFID

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
    with pytest.raises(ValueError, match=r"digits, fashion.*got 'cifar10'"):
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


def test_inception768_refuses_absent_and_altered_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path))
    with pytest.raises(DownloadError, match="MINIDIFF_DATA"):
        Inception768.load()
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


def test_fid_through_a_stand_in_for_the_library(tmp_path, monkeypatch):
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

    monkeypatch.setenv("MINIDIFF_DATA", str(tmp_path))
    monkeypatch.setattr(InceptionFID, "URL", "http://127.0.0.1:9/weights.pth")
    with pytest.raises(DownloadError, match=r"cannot reach .*get weights\.pth on another machine"):
        InceptionFID.load()


def test_fid_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ImportError, match="pip install torch-fidelity"):
        InceptionFID({})
