"""Chapter 24: diffusion of letters in place of numbers, by masks or by random letters (D3PM).

With probability alpha_bar_t a letter is still the one of x_0, else it was drawn anew, from a fixed
distribution `noise`. That is all of the Gaussian case but the Gaussian: marginals, posteriors and
the bound have the same places, and are exact sums over an alphabet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from minidiff.checks_networks import check_callable
from minidiff.checks_schedule import check_T
from minidiff.checks_times import check_tau
from minidiff.kinds import check_counts, check_tensor, drawn_on, is_whole, kind, short
from minidiff.samplers import Step
from minidiff.schedule import EXACT


class Letters:
    """q(x_t | x_0) = alpha_bar_t 1{x_t = x_0} + (1 - alpha_bar_t) noise(x_t), letter by letter.

    Austin et al. 2021, sections 3 and 3.1. Data are letters 0..K-1, integers of any shape (B, …).
    `masked` draws letter K, the mask, which no data have; `uniform` any of the K.
    alpha_bar_t = 1 - t/T, so nothing is left at T. All probabilities are float64, (B, …, letters).

    A network is called as net(xt, t - 1), t of shape (B,), and returns logits (B, …, K) of x_0.

    >>> process = Letters.masked(K=3, T=4)
    >>> process.marginal(torch.tensor([[1]]), 2).tolist()  # the letter, or the mask
    [[[0.0, 0.5, 0.0, 0.5]]]
    """

    def __init__(self, K: int, T: int, noise: Tensor) -> None:
        self.K, self.T = K, check_T(T)
        check_counts(K=K)
        check_tensor(noise=noise)
        self.noise = noise.double()
        self.alpha_bar = 1 - torch.arange(self.T + 1, **EXACT) / self.T

    @classmethod
    def uniform(cls, K: int, T: int) -> Letters:
        """A letter that is drawn anew is any of the K."""
        return cls(K, T, torch.full((K,), 1 / K, **EXACT))

    @classmethod
    def masked(cls, K: int, T: int) -> Letters:
        """A letter that is drawn anew is the mask, K: it is lost, and where it was is known."""
        return cls(K, T, F.one_hot(torch.tensor(K), K + 1))

    def marginal(self, x0: Tensor, t: int) -> Tensor:
        """q(x_t | x_0), t in 0..T."""
        return self.transition(x0, 0, t)

    def transition(self, xs: Tensor, s: int, t: int) -> Tensor:
        """q(x_t | x_s) for s < t: kept with probability alpha_bar_t/alpha_bar_s."""
        self._check(xs, s, t)
        kept = float(self.alpha_bar[t] / self.alpha_bar[s])
        return kept * self._one_hot(xs) + (1 - kept) * self.noise.to(xs.device)

    def posterior(self, x0: Tensor, xt: Tensor, t: int, s: int) -> Tensor:
        """q(x_s | x_t, x_0), averaged over probabilities x0 (B, …, letters) of x_0, for s < t.

        By Bayes' rule q(x_t | x_s) q(x_s | x_0) / q(x_t | x_0). With a network's x0 it is
        p_theta(x_s | x_t), exact if the network is. (Austin et al. 2021 average before they divide
        by q(x_t | x_0), which is another model for random letters and the same for masks.) Among
        masks a letter stays, so letters put into x_T are a condition.
        """
        self._check(xt, s, t)
        self._check_probabilities(x0, xt)
        noise, seen = self.noise.to(xt.device), self._one_hot(xt)
        at, as_ = float(self.alpha_bar[t]), float(self.alpha_bar[s])
        of_xt = (noise * seen).sum(-1, keepdim=True)  # noise(x_t)
        from_s = at / as_ * seen + (1 - at / as_) * of_xt  # q(x_t | x_s), for each x_s
        from_0 = at * seen + (1 - at) * of_xt
        # A mask tells nothing, a letter beside masks all: x_0 that cannot be have no share.
        share = torch.where(from_0 > 0, x0.double().clamp(min=1e-300) / from_0, 0)
        both = from_s * (as_ * share + (1 - as_) * noise * share.sum(-1, keepdim=True))
        total = both.sum(-1, keepdim=True)
        return torch.where(total > 0, both / total, seen)

    def reverse(
        self, net: Callable[[Tensor, Tensor], Tensor], xt: Tensor, t: int, s: int
    ) -> Tensor:
        """p_theta(x_s | x_t): the posterior with the network's probabilities of x_0."""
        return self.posterior(self.guess(net, xt, t), xt, t, s)

    def guess(self, net: Callable[[Tensor, Tensor], Tensor], xt: Tensor, t: int) -> Tensor:
        """The network's probabilities of x_0, (B, …, letters); 0 for the mask."""
        check_callable(net=net)
        self._check(xt, 0, t)
        logits = net(xt, torch.full((len(xt),), t - 1, device=xt.device))
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else kind(logits)
        if shape != (*xt.shape, self.K):
            raise ValueError(
                f"the network must return logits of shape {(*xt.shape, self.K)}, one for each "
                f"letter of the data, got {shape}"
            )
        return F.pad(logits.double().softmax(-1), (0, len(self.noise) - self.K))

    def term(
        self, net: Callable[[Tensor, Tensor], Tensor], x0: Tensor, xt: Tensor, t: int
    ) -> Tensor:
        """KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t)) in nats; at 1 -log p(x_0 | x_1).

        Returns (B,). The bound on -log p(x_0) is the sum of these over t = 1..T; nothing is lost at
        T. For masks it is 1/t times the cross-entropy of the letters that x_t hides.
        """
        self._check(x0, 0, t)
        q = self.posterior(self._one_hot(x0), xt, t, t - 1)
        p = self.reverse(net, xt, t, t - 1).clamp(min=1e-300)
        return (torch.xlogy(q, q) - torch.xlogy(q, p)).flatten(1).sum(1)

    def bound(
        self,
        net: Callable[[Tensor, Tensor], Tensor],
        x0: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The bound in nats, (B,), each term with one x_t ~ q(x_t | x_0): unbiased, T calls."""
        terms = (
            self.term(net, x0, choose(self.marginal(x0, t), generator), t)
            for t in range(1, self.T + 1)
        )
        return torch.stack([*terms]).sum(0)

    @torch.no_grad()
    def sample(
        self,
        net: Callable[[Tensor, Tensor], Tensor],
        shape: Sequence[int],
        tau: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Step]:
        """x_T of noise, then x_s ~ p_theta(x_s | x_t) along tau (None: every step) to 0.

        Yields `Step`, whose x0 holds the network's probabilities of x_0.
        """
        steps = [int(t) for t in check_tau(range(self.T, -1, -1) if tau is None else tau, self.T)]
        x = choose(self.noise.expand(*shape, -1), generator)
        for t, s in pairwise(steps):
            x0 = self.guess(net, x, t)
            x = choose(self.posterior(x0, x, t, s), generator)
            yield Step(s, x, x0)

    def _one_hot(self, x: Tensor) -> Tensor:
        return F.one_hot(x.long(), len(self.noise)).double()

    def _check(self, x: Tensor, s: int, t: int) -> None:
        check_tensor(letters=x)
        whole = is_whole(s) and is_whole(t) and not x.is_floating_point() and x.dtype != torch.bool
        if not whole or not (0 <= s < t <= self.T or s == t == 0):
            raise ValueError(
                f"letters are whole numbers, and so are 0 <= s < t <= {self.T}; got {x.dtype}, "
                f"s = {short(s)}, t = {short(t)}"
            )
        if x.device.type == "cpu" and x.numel() and not 0 <= x.min() <= x.max() < len(self.noise):
            raise ValueError(
                f"letters must be in 0..{len(self.noise) - 1}, got {int(x.min())}..{int(x.max())}"
            )

    def _check_probabilities(self, p: Tensor, x: Tensor) -> None:
        check_tensor(x0=p)
        if p.shape != (wanted := (*x.shape, len(self.noise))):
            raise ValueError(f"x0 must be probabilities of shape {wanted}, got {kind(p)}")


def choose(p: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One letter from each row of probabilities (…, letters): (…).

    >>> choose(torch.tensor([[0.0, 1.0], [1.0, 0.0]])).tolist()
    [1, 0]
    """
    check_tensor(p=p)
    where = drawn_on(generator, p.device)
    u = torch.rand(p.shape[:-1], generator=generator, device=where, dtype=torch.float64)
    passed = p.double().cumsum(-1) <= u.to(p.device)[..., None] * p.double().sum(-1, keepdim=True)
    return passed.sum(-1)
