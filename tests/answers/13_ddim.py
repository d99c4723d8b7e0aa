"""Wrong and right answers to the exercises of chapter 13."""

WRONG = {
    "ex-13-step": [
        (
            """
def my_step(x, eps, a_t, a_s, sigma, z):  # sigma without its square
    x0 = (x - (1 - a_t) ** 0.5 * eps) / a_t**0.5
    return a_s**0.5 * x0 + (1 - a_s - sigma) ** 0.5 * eps + sigma * z
""",
            "The kept noise is sqrt(1 - a_s - sigma**2) * eps",
        ),
        (
            """
def my_step(x, eps, a_t, a_s, sigma, z):  # the kept noise is not shortened
    x0 = (x - (1 - a_t) ** 0.5 * eps) / a_t**0.5
    return a_s**0.5 * x0 + (1 - a_s) ** 0.5 * eps + sigma * z
""",
            "The kept noise is sqrt(1 - a_s - sigma**2) * eps",
        ),
        (
            """
def my_step(x, eps, a_t, a_s, sigma, z):  # variance for standard deviation
    x0 = (x - (1 - a_t) ** 0.5 * eps) / a_t**0.5
    return a_s**0.5 * x0 + (1 - a_s - sigma**2) ** 0.5 * eps + sigma**2 * z
""",
            "The fresh noise is sigma * z",
        ),
        (
            """
def my_step(x, eps, a_t, a_s, sigma, z):  # x_0 guessed without roots
    x0 = (x - (1 - a_t) * eps) / a_t
    return a_s**0.5 * x0 + (1 - a_s - sigma**2) ** 0.5 * eps + sigma * z
""",
            "x0_hat",
        ),
        (
            """
def my_step(x, eps, a_t, a_s, sigma, z):  # x_0 not scaled down again
    x0 = (x - (1 - a_t) ** 0.5 * eps) / a_t**0.5
    return x0 + (1 - a_s - sigma**2) ** 0.5 * eps + sigma * z
""",
            "scale x0_hat by sqrt(a_s)",
        ),
        (
            """
def my_step(x, eps, a_t, a_s, sigma, z):  # the root of a variance forgotten
    x0 = (x - (1 - a_t) ** 0.5 * eps) / a_t**0.5
    return a_s**0.5 * x0 + (1 - a_s - sigma**2) * eps + sigma * z
""",
            "eps by sqrt(1 - a_s)",
        ),
        (
            """
def my_step(x, eps, a_t, a_s, sigma, z):  # t and s exchanged
    x0 = (x - (1 - a_s) ** 0.5 * eps) / a_s**0.5
    return a_t**0.5 * x0 + (1 - a_t - sigma**2) ** 0.5 * eps + sigma * z
""",
            "To s = 0 the step must return x0_hat",
        ),
        (
            """
def my_step(x, eps, a_t, a_s, sigma, z):  # the root of the root
    x0 = (x - (1 - a_t) ** 0.5 * eps) / a_t**0.5
    return a_s**0.5 * x0 + (1 - a_s - sigma**2) ** 0.5 * eps + sigma**0.5 * z
""",
            "The fresh noise is sigma * z",
        ),
        (
            """
def my_step(x, eps, a_t, a_s, sigma, z):
    x0 = (x - (1 - a_t) ** 0.5 * eps) / a_t**0.5
""",
            "Return x_s",
        ),
    ],
    "ex-13-limit": [
        (
            """
def largest_eta(a_t, a_s):  # the square
    return (1 - a_t) / (1 - a_t / a_s)
""",
            "Is it eta**2?",
        ),
        (
            """
def largest_eta(a_t, a_s):  # DDPM is not the limit
    return 1.0
""",
            "At the limit no old noise is kept",
        ),
        (
            """
def largest_eta(a_t, a_s):  # upside down
    return ((1 - a_t / a_s) / (1 - a_t)) ** 0.5
""",
            "eta = 1 is always allowed",
        ),
        (
            """
def largest_eta(a_t, a_s):  # a_s / a_t: the root of a negative number
    return ((1 - a_t) / (1 - a_s / a_t)) ** 0.5
""",
            "eta = 1 is always allowed",
        ),
        (
            """
def largest_eta(a_t, a_s):  # the factor (1 - a_s) / (1 - a_t) forgotten
    return ((1 - a_s) / (1 - a_t / a_s)) ** 0.5
""",
            "eta = 1 is always allowed",
        ),
        (
            """
def largest_eta(a_t, a_s):
    eta = ((1 - a_t) / (1 - a_t / a_s)) ** 0.5
""",
            "is there a return?",
        ),
    ],
    "ex-13-guard": [
        (
            """
def sound(pairs, T):  # no seams
    return pairs[0][0] == T and pairs[-1][1] == 0 and all(t > s for t, s in pairs)
""",
            "Look at the seams",
        ),
        (
            """
def sound(pairs, T):  # leaves the loop after the first seam
    if pairs[0][0] != T or pairs[-1][1] != 0:
        return False
    for a, b in pairwise(pairs):
        return a[1] == b[0] and a[0] > a[1]
""",
            "Look at every seam",
        ),
        (
            """
def sound(pairs, T):  # a step on the spot is let through
    joined = all(a[1] == b[0] for a, b in pairwise(pairs))
    return pairs[0][0] == T and pairs[-1][1] == 0 and joined and all(t >= s for t, s in pairs)
""",
            "A step must go down",
        ),
        (
            """
def sound(pairs, T):  # a step up is let through
    joined = all(a[1] == b[0] for a, b in pairwise(pairs))
    return pairs[0][0] == T and pairs[-1][1] == 0 and joined and all(t != s for t, s in pairs)
""",
            "never up",
        ),
        (
            """
def sound(pairs, T):  # the chapter's T
    joined = all(a[1] == b[0] for a, b in pairwise(pairs))
    return pairs[0][0] == 1000 and pairs[-1][1] == 0 and joined and all(t > s for t, s in pairs)
""",
            "use the argument T",
        ),
        (
            """
def sound(pairs, T):  # the end forgotten
    joined = all(a[1] == b[0] for a, b in pairwise(pairs))
    return pairs[0][0] == T and joined and all(t > s for t, s in pairs)
""",
            "must end at 0",
        ),
        (
            """
def sound(pairs, T):  # the start forgotten
    joined = all(a[1] == b[0] for a, b in pairwise(pairs))
    return pairs[-1][1] == 0 and joined and all(t > s for t, s in pairs)
""",
            "must start at T",
        ),
        (
            """
def sound(pairs, T):  # even steps are asked for
    joined = all(a[1] == b[0] for a, b in pairwise(pairs))
    even = len({t - s for t, s in pairs}) == 1
    return pairs[0][0] == T and pairs[-1][1] == 0 and joined and even
""",
            "Uneven steps are no mistake",
        ),
        (
            """
def sound(pairs, T):
    pairs[0][0] == T and pairs[-1][1] == 0
""",
            "is there a return?",
        ),
    ],
    "ex-13-own-tau": [
        (
            """
def own_tau(T, S, rho):  # what repeats leave free is filled at the noisy end
    steps = {int(T * (i / S) ** rho) for i in range(S + 1)}
    free = [t for t in range(T, 0, -1) if t not in steps]
    return sorted(steps | set(free[: S + 1 - len(steps)]), reverse=True)
""",
            "where the power law gives",
        ),
        (
            """
def own_tau(T, S, rho):  # repeats are left in
    return [int(T * (i / S) ** rho) for i in range(S, -1, -1)]
""",
            "does not go down in every step",
        ),
        (
            """
def own_tau(T, S, rho):  # repeats are thrown away
    return sorted({int(T * (i / S) ** rho) for i in range(S + 1)}, reverse=True)
""",
            "10 steps need 11 numbers",
        ),
        (
            """
def own_tau(T, S, rho):  # rising
    steps = [0]
    for i in range(1, S + 1):
        steps.append(max(int(T * (i / S) ** rho), steps[-1] + 1))
    return steps
""",
            "the list begins at 0, not at T",
        ),
        (
            """
def own_tau(T, S, rho):  # the other root
    steps = [0]
    for i in range(1, S + 1):
        steps.append(max(int(T * (i / S) ** (1 / rho)), steps[-1] + 1))
    return steps[::-1]
""",
            "where the power law gives",
        ),
        (
            """
def own_tau(T, S, rho):  # rho is ignored
    return [T * i // S for i in range(S, -1, -1)]
""",
            "where the power law gives",
        ),
        (
            """
def own_tau(T, S, rho):  # S numbers, without the 0
    steps = [0]
    for i in range(1, S + 1):
        steps.append(max(int(T * (i / S) ** rho), steps[-1] + 1))
    return steps[:0:-1]
""",
            "10 steps need 11 numbers, you gave 10",
        ),
        (
            """
def own_tau(T, S, rho):  # not whole
    return [T * (i / S) ** rho for i in range(S, -1, -1)]
""",
            "whole numbers",
        ),
        (
            """
def own_tau(T, S, rho):
    steps = [T * i // S for i in range(S, -1, -1)]
""",
            "return a list",
        ),
    ],
}

RIGHT = {
    "ex-13-step": [
        """
def my_step(x, eps, a_t, a_s, sigma, z):  # as the chapter writes it, with torch.sqrt
    x0 = (x - torch.sqrt(1 - a_t) * eps) / torch.sqrt(a_t)
    return torch.sqrt(a_s) * x0 + torch.sqrt(1 - a_s - sigma**2) * eps + sigma * z
""",
        """
def my_step(x, eps, a_t, a_s, sigma, z):  # math.sqrt, the factors of x and eps first
    r = math.sqrt(a_s / a_t)
    kept = math.sqrt(1 - a_s - sigma * sigma) - r * math.sqrt(1 - a_t)
    return r * x + kept * eps + sigma * z
""",
        """
def my_step(x, eps, a_t, a_s, sigma, z):  # float32
    x, eps, a_t, a_s = x.float(), eps.float(), float(a_t), float(a_s)
    x0 = (x - (1 - a_t) ** 0.5 * eps) / a_t**0.5
    return a_s**0.5 * x0 + (1 - a_s - sigma**2) ** 0.5 * eps + sigma * z.float()
""",
    ],
    "ex-13-limit": [
        """
def largest_eta(a_t, a_s):  # another form, with math
    return math.sqrt(a_s * (1 - a_t) / (a_s - a_t))
""",
        """
def largest_eta(a_t, a_s):  # float32 tensors
    return torch.sqrt((1 - a_t.float()) / (1 - a_t.float() / a_s.float()))
""",
    ],
    "ex-13-guard": [
        """
def sound(pairs, T):  # a loop
    at = T
    for t, s in pairs:
        if t != at or s >= t:
            return False
        at = s
    return at == 0
""",
        """
def sound(pairs, T):  # as one list of steps
    steps = torch.tensor([t for t, _ in pairs] + [pairs[-1][1]])
    joined = [s for _, s in pairs] == steps[1:].tolist()
    return joined and steps[0] == T and steps[-1] == 0 and (steps.diff() < 0).all()
""",
    ],
    "ex-13-own-tau": [
        """
def own_tau(T, S, rho):  # rounded, with torch
    law = (T * torch.linspace(0, 1, S + 1) ** rho).round().long().tolist()
    for i in range(1, S + 1):
        law[i] = max(law[i], law[i - 1] + 1)
    return law[::-1]
""",
        """
def own_tau(T, S, rho):  # step i is at least i, for the law bends upwards
    return [max(int(T * (i / S) ** rho), i) for i in range(S, -1, -1)]
""",
    ],
}
