"""Wrong and right answers to the exercises of chapter 26."""

WRONG = {
    "ex-26-differ": [
        (
            """
def differ(a, b, defaults):  # only what the first sets
    return sorted(key for key in a if a[key] != b.get(key, defaults[key]))
""",
            "so it has the default",
        ),
        (
            """
def differ(a, b, defaults):  # defaults forgotten
    return sorted(key for key in {*a, *b} if a.get(key) != b.get(key))
""",
            "to its default",
        ),
        (
            """
def differ(a, b, defaults):  # only what both set
    return sorted(key for key in a if key in b and a[key] != b[key])
""",
            "so it has the default",
        ),
        (
            """
def differ(a, b, defaults):  # a number in place of names
    return sum((defaults | a)[key] != (defaults | b)[key] for key in defaults)
""",
            "does not differ from itself",
        ),
        (
            """
def differ(a, b, defaults):  # compared with the defaults, not with one another
    return sorted(key for key in b if b[key] != defaults[key])
""",
            "does not differ from itself",
        ),
        (
            """
def differ(a, b, defaults):  # not sorted
    a, b = defaults | a, defaults | b
    return [key for key in reversed(defaults) if a[key] != b[key]]
""",
            "Sort the names",
        ),
        (
            """
def differ(a, b, defaults):  # changes what it is given
    for key, value in defaults.items():
        a.setdefault(key, value), b.setdefault(key, value)
    return sorted(key for key in defaults if a[key] != b[key])
""",
            "Leave what you are given",
        ),
    ],
    "ex-26-front": [
        (
            """
def front(points):  # the best alone
    return [min(points, key=lambda p: p[1])]
""",
            "somebody's choice",
        ),
        (
            """
def front(points):  # all of them
    return sorted(points)
""",
            "'late' has more calls",
        ),
        (
            """
def front(points):  # strictly better in both
    return sorted(q for q in points if not any(p[0] < q[0] and p[1] < q[1] for p in points))
""",
            "as many calls as 'b'",
        ),
        (
            """
def front(points):  # equal points beat each other
    def beats(p, q):
        return p[0] <= q[0] and p[1] <= q[1] and p is not q

    return sorted(q for q in points if not any(beats(p, q) for p in points))
""",
            "keep both",
        ),
        (
            """
def front(points):  # a point beats itself
    return sorted(q for q in points if not any(p[0] <= q[0] and p[1] <= q[1] for p in points))
""",
            "somebody's choice",
        ),
        (
            """
def front(points):  # sorted by distance
    better = lambda p, q: p[:2] != q[:2] and p[0] <= q[0] and p[1] <= q[1]
    left = [q for q in points if not any(better(p, q) for p in points)]
    return sorted(left, key=lambda p: p[1])
""",
            "Sort by calls",
        ),
        (
            """
def front(points):
    left = sorted(points)
""",
            "Return a list",
        ),
    ],
}

RIGHT = {
    "ex-26-differ": [
        """
def differ(a, b, defaults):  # a loop
    names = []
    for key in sorted(defaults):
        if a.get(key, defaults[key]) != b.get(key, defaults[key]):
            names.append(key)
    return names
""",
        """
def differ(a, b, defaults):  # sets of pairs
    whole = [set({**defaults, **recipe}.items()) for recipe in (a, b)]
    return sorted({key for key, _ in whole[0] ^ whole[1]})
""",
    ],
    "ex-26-front": [
        """
def front(points):  # one sweep along the calls
    kept, best = [], float("inf")
    for calls in sorted({p[0] for p in points}):
        here = min(p[1] for p in points if p[0] == calls)
        if here < best:
            kept += [p for p in points if p[:2] == (calls, here)]
            best = here
    return kept
""",
        """
def front(points):  # tuples, by all()
    def free(q):
        return all(p[:2] == q[:2] or p[0] > q[0] or p[1] > q[1] for p in points)

    return sorted(filter(free, points), key=lambda p: p[0])
""",
    ],
}
