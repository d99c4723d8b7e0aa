"""Every numbered equation of the two papers is found in the library by one search for its number.

`grep -rn "Ho et al. 2020, .*eq. (12)" minidiff` must lead to the place where it lives. Beside each
number stands what the equation says and the public name whose docstring carries it.
"""

import ast
import importlib
import re
from pathlib import Path

import pytest

import minidiff as md

PACKAGE = Path(md.__file__).parent
HO, SONG = "Ho et al. 2020", "Song, Meng & Ermon 2021"
EQUATIONS = {
    HO: {
        1: "Denoiser.reverse",  # the reverse chain p_theta
        2: "transition",  # the forward chain q
        3: "elbo",  # the bound L
        4: "marginal",  # q(x_t | x_0)
        5: "elbo",  # L as a sum of KLs
        6: "posterior",  # q(x_{t-1} | x_t, x_0)
        7: "posterior",  # mu_tilde and beta_tilde
        8: "vlb_term",  # L_{t-1} under a fixed variance
        9: "from_x0",  # its mu_tilde in terms of x_t and eps
        10: "from_x0",  # what mu_theta must predict
        11: "convert",  # mu_theta from eps_theta
        12: "weights_vlb",  # L_{t-1} as a weighted error of eps
        13: "decoder_nll",  # L_0, the discrete decoder
        14: "loss_simple",  # L_simple
        15: "to_x0_eps",  # the estimate of x_0
        16: "toy.GaussianMixture.reverse",  # L with q(x_{t-1} | x_t), not given x_0
    },
    SONG: {
        1: "Denoiser.reverse",  # the latent variable model p_theta
        2: "elbo",  # the bound
        3: "transition",  # the forward chain q
        4: "diffuse",  # x_t = sqrt(alpha_t) x_0 + sqrt(1 - alpha_t) eps
        5: "loss_gamma",  # L_gamma
        6: "ddim_posterior",  # the joint q_sigma
        7: "ddim_posterior",  # q_sigma(x_{t-1} | x_t, x_0)
        8: "ddim_forward",  # q_sigma(x_t | x_{t-1}, x_0)
        9: "to_x0_eps",  # f_theta, the estimate of x_0
        10: "ddim",  # the reverse chain of q_sigma
        11: "j_term",  # J_sigma
        12: "ddim",  # the sampler
        13: "solve",  # DDIM as an Euler step
        14: "predict_at",  # the ODE
        15: "velocity",  # Euler's step of the probability-flow ODE
        16: "ddim_sigma",  # sigma(eta)
    },
}
ALGORITHMS = {1: "loss_simple", 2: "ancestral"}  # of Ho et al.: training, sampling
CHAPTERS = r"(Chapters? \d+(, \d+)*( (and|to) \d+)?|All chapters|Every chapter's laboratory)"
MATHEMATICS = sorted(p for p in PACKAGE.glob("*.py") if p.stem not in ("__init__", "__main__"))


def docstring(name: str) -> str:
    head, *rest = name.split(".")
    thing = getattr(md, head) if hasattr(md, head) else importlib.import_module(f"minidiff.{head}")
    for part in rest:
        thing = getattr(thing, part)
    return thing.__doc__ or ""


def cites(line: str, paper: str, what: str) -> bool:
    """Whether a line says "paper, what", maybe among more of the same: "eq. (6), eq. (7)"."""
    listed = r"(?:, (?:eq\. \(\d+\)|algorithm \d+))*"
    return (
        re.search(re.escape(paper) + listed + ", " + re.escape(what) + r"(?!\d)", line) is not None
    )


@pytest.mark.parametrize("paper", EQUATIONS)
def test_the_lists_are_whole(paper: str) -> None:
    assert list(EQUATIONS[paper]) == list(range(1, 17))


@pytest.mark.parametrize(
    ("paper", "number", "where"),
    [(paper, n, name) for paper, names in EQUATIONS.items() for n, name in names.items()],
)
def test_an_equation_is_found_by_its_number(paper: str, number: int, where: str) -> None:
    lines = docstring(where).splitlines()
    assert any(cites(line, paper, f"eq. ({number})") for line in lines), lines


@pytest.mark.parametrize(("number", "where"), ALGORITHMS.items())
def test_an_algorithm_is_found_by_its_number(number: int, where: str) -> None:
    assert any(cites(x, HO, f"algorithm {number}") for x in docstring(where).splitlines())


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_equations_are_cited_in_one_form(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\beqs\.", text), "say eq. (6), eq. (7)"
    assert not re.findall(r"(?:Ho|Song) et al\.,.*", text), "a paper has its year"
    for line in text.splitlines():
        if re.search(r"\beq\.", line):
            assert re.search(r" \d{4}(?:, [^;]*)?, eq\. \(\d+\)", line), f"whose equation? {line}"


@pytest.mark.parametrize("path", MATHEMATICS, ids=lambda p: p.stem)
def test_a_file_of_the_mathematics_begins_with_its_chapter(path: Path) -> None:
    first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]
    if path.stem != "plots":
        assert re.match(CHAPTERS + ": ", first), first
