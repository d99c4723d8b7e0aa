"""minidiff: denoising diffusion models, small enough to read and fast enough to use.

>>> import minidiff as md
>>> model = md.load_pretrained("digits")
>>> x_T = md.randn(torch.empty(4, 1, 8, 8), torch.Generator().manual_seed(0))
>>> *_, last = md.ddim(model, x_T, md.tau(1000, S=10))
>>> last.x.shape
torch.Size([4, 1, 8, 8])
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - pip checks this, a copied folder does not
    raise ImportError(f"minidiff needs Python 3.10 or newer; this is {sys.version.split()[0]}")

import importlib
from typing import Any

try:
    import torch  # noqa: F401 - first, for its own error message
except ImportError as error:
    raise ImportError("minidiff needs PyTorch: pip install torch") from error

from minidiff.adaptive import solve_adaptive
from minidiff.bound import Elbo, bits_per_dim, decoder_nll, elbo, prior_kl, vlb_term
from minidiff.denoiser import Denoiser, Prediction
from minidiff.discrete import Letters
from minidiff.editing import inpaint, sdedit
from minidiff.engine.checkpoint import load_pretrained, load_weights, save_weights
from minidiff.engine.config import TrainConfig
from minidiff.engine.ema import EMA
from minidiff.engine.loop import train
from minidiff.guidance import dynamic_threshold, guide, guide_by_classifier
from minidiff.likelihood import Likelihood, dequantize, log_likelihood
from minidiff.losses import loss_gamma, loss_hybrid, loss_score, loss_simple, loss_vlb
from minidiff.measured import results
from minidiff.objective import gamma, j_term
from minidiff.ode import Churn, decode, encode, predict_at, solve, velocity
from minidiff.parameterize import convert, from_x0, to_x0_eps
from minidiff.process import (
    Gaussian,
    ddim_forward,
    ddim_posterior,
    ddim_sigma,
    diffuse,
    marginal,
    posterior,
    randn,
    transition,
)
from minidiff.samplers import Step, ancestral, ddim, interpolate, lerp, slerp
from minidiff.schedule import Schedule
from minidiff.spacing import tau, tau_at
from minidiff.timesteps import (
    BoundTimes,
    LogNormalTimes,
    LossAwareTimes,
    StratifiedTimes,
    UniformTimes,
)
from minidiff.unet.config import UNetConfig
from minidiff.unet.network import UNet
from minidiff.unet.transformer import Transformer, TransformerConfig
from minidiff.weighting import weights_min_snr, weights_p2, weights_vlb

__version__ = "0.2.0"

__all__ = [
    "EMA",
    "BoundTimes",
    "Churn",
    "Denoiser",
    "Elbo",
    "Gaussian",
    "Letters",
    "Likelihood",
    "LogNormalTimes",
    "LossAwareTimes",
    "Prediction",
    "Schedule",
    "Step",
    "StratifiedTimes",
    "TrainConfig",
    "Transformer",
    "TransformerConfig",
    "UNet",
    "UNetConfig",
    "UniformTimes",
    "ancestral",
    "bits_per_dim",
    "convert",
    "ddim",
    "ddim_forward",
    "ddim_posterior",
    "ddim_sigma",
    "decode",
    "decoder_nll",
    "dequantize",
    "diffuse",
    "dynamic_threshold",
    "elbo",
    "encode",
    "from_x0",
    "gamma",
    "guide",
    "guide_by_classifier",
    "inpaint",
    "interpolate",
    "j_term",
    "lerp",
    "load_pretrained",
    "load_weights",
    "log_likelihood",
    "loss_gamma",
    "loss_hybrid",
    "loss_score",
    "loss_simple",
    "loss_vlb",
    "marginal",
    "posterior",
    "predict_at",
    "prior_kl",
    "randn",
    "results",
    "save_weights",
    "sdedit",
    "slerp",
    "solve",
    "solve_adaptive",
    "tau",
    "tau_at",
    "to_x0_eps",
    "train",
    "transition",
    "velocity",
    "vlb_term",
    "weights_min_snr",
    "weights_p2",
    "weights_vlb",
]

# Rooms that need more than torch (plots: matplotlib, data: scikit-learn) open when entered.
_ROOMS = {
    "book": "minidiff.book",
    "checkpoint": "minidiff.engine.checkpoint",
    "compat": "minidiff.unet.compat",
    "data": "minidiff.data",
    "features": "minidiff.measure.features",
    "metrics": "minidiff.measure.metrics",
    "plots": "minidiff.plots",
    "toy": "minidiff.toy",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(_ROOMS[name])
    raise AttributeError(f"module 'minidiff' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
