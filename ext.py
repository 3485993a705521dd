import numpy as np, shapley_kernels as sk, torch, warnings
from fractions import Fraction


def t(name, f):
    with warnings.catch_warnings(record=True) as W:
        warnings.simplefilter("always")
        try:
            r = repr(f())[:250]
        except BaseException as e:
            r = "!! " + type(e).__name__ + " " + str(e)[:250]
    print(name, "->", r.replace("\n", " "), [str(w.message)[:80] for w in W])


r = np.random.default_rng(0).random((2, 6))
for v in [
    sk.BetaShapley(1e308, 1e308),
    sk.BetaShapley(1e-308, 1e-308),
    sk.BetaShapley(1e-320, 1),
    sk.BetaShapley(1e20, 1),
    sk.BetaShapley(1, 1e20),
    sk.BetaShapley(1e16, 1e16),
    sk.BetaShapley(True, 2),
    sk.BetaShapley(Fraction(1, 3), 2),
    sk.Banzhaf(Fraction(1, 3)),
    sk.Banzhaf(np.float32(0.3)),
    sk.Banzhaf(True),
    sk.Banzhaf(5e-324),
    sk.Stratum(np.int64(2)),
    sk.Stratum(True),
    sk.Stratum(2**70),
    sk.SizeWeights([1e308] * 6),
    sk.SizeWeights(np.ones(6)),
]:
    for g in (
        sk.Max(r),
        sk.NoisyOr(r),
        sk.OWA(r, np.ones((6, 6))),
        sk.AtLeast(r, 2),
        sk.Median(r),
        sk.Table(np.random.default_rng(1).random((2, 64))),
        sk.Pairwise(np.ones((2, 6, 6))),
        sk.LogSum(r),
    ):

        def f():
            c = sk.semivalue(g, v)
            ws = [float(x) for x in v.exact_size_weights(6)]
            from shapley_kernels.testing import exact_semivalue

            e = np.array([[float(x) for x in row] for row in exact_semivalue(g, v)])
            err = np.abs(c - e).max() / max(np.abs(e).max(), 1e-300)
            return "ok" if err < 1e-10 else ("ERRREL", err, c[0], e[0])

        with warnings.catch_warnings(record=True) as W:
            warnings.simplefilter("always")
            try:
                x = f()
            except BaseException as e:
                x = "!! " + type(e).__name__ + " " + str(e)[:160]
        if x != "ok" or W:
            print(v, type(g).__name__, x, [str(w.message)[:80] for w in W])
big = np.random.default_rng(0).random
for n in (0, 1, 1024, 5000):
    for cls, args in (
        (sk.Max, ()),
        (sk.Min, ()),
        (sk.Median, ()),
        (sk.Mean, ()),
        (sk.Range, ()),
        (sk.TopM, (3,)),
        (sk.TopMMean, (3,)),
        (sk.KthBest, (2,)),
        (sk.Discounted, ()),
        (sk.NoisyOr, ()),
        (sk.AtLeast, (2,)),
        (sk.LogSum, ()),
    ):
        x = big((2, n))
        try:
            g = cls(x, *args)
            c = sk.shapley(g)
            tot = g.worth() - g.worth(np.zeros((2, n), bool))
            if np.abs(c.sum(-1) - tot).max() > 1e-8:
                print(n, cls.__name__, "eff", c.sum(-1), tot)
        except Exception as e:
            print(n, cls.__name__, type(e).__name__, str(e)[:200])
for v in (
    sk.Banzhaf(),
    sk.Banzhaf(0),
    sk.Banzhaf(1),
    sk.Banzhaf(0.001),
    sk.BetaShapley(16, 1),
    sk.BetaShapley(1e6, 1),
    sk.BetaShapley(0.5, 0.5),
    sk.Stratum(5000),
    sk.Stratum(7),
    sk.LeaveOneOut(),
):
    import time

    for cls in (sk.Max, sk.Median, sk.NoisyOr):
        x = np.sort(big(3000))[::-1].copy() if cls is not sk.NoisyOr else big(1500) * 0.01
        s = time.time()
        try:
            c = sk.semivalue(cls(x), v)
        except Exception as e:
            print(v, cls.__name__, type(e).__name__, str(e)[:150])
            continue
        if not np.isfinite(c).all():
            print("nonfinite", v, cls.__name__)
        if time.time() - s > 20:
            print("slow", v, cls.__name__, time.time() - s)
        if cls is sk.Max and isinstance(v, (sk.LeaveOneOut, sk.Banzhaf)):
            D = np.append(-np.diff(x), x[-1])
            p = 1.0 if isinstance(v, sk.LeaveOneOut) else v.p
            A = (1 - p) ** np.arange(len(x))
            e = np.cumsum((D * A)[::-1])[::-1]
            if np.abs(c - e).max() > 1e-12:
                print("wrong", v, np.abs(c - e).max())
# float16 overflow etc
t("f16 topm", lambda: sk.shapley(sk.TopM(np.full((1, 4), 60000, "f2"), 4)))
t("f16 sum worth", lambda: sk.TopM(np.full((1, 4), 60000, "f2"), 4).worth())
t(
    "f16 broadcast",
    lambda: sk.RewardAllocator(
        sk.TopM and (lambda r, mask=None: sk.TopM(r, 4, mask=mask)), sk.rl.Broadcast()
    ).advantages(np.full((2, 4), 60000, "f2")),
)
t("f16 alloc", lambda: sk.RewardAllocator(scale="none").advantages(np.array([[60000, -60000], [-60000, -60000]], "f2")))
t("mixed dtype", lambda: sk.shapley(sk.Max(r.astype("f2")) + np.float64(1e-3) * sk.Max(r.astype("f2"))).dtype)
t("mixed f16+bf16", lambda: sk.shapley(sk.Max(torch.tensor(r).half()) + sk.Max(torch.tensor(r).bfloat16())).dtype)
t(
    "w grad",
    lambda: (lambda w: (sk.shapley(w * sk.Max(torch.tensor(r))).sum().backward(), w.grad))(
        torch.ones(2, dtype=torch.double, requires_grad=True)
    ),
)
t(
    "w grad scalar tensor",
    lambda: (lambda w: (sk.shapley(w * sk.Max(torch.tensor(r))).sum().backward(), w.grad))(
        torch.ones((), dtype=torch.double, requires_grad=True)
    ),
)
t("w int arr", lambda: sk.shapley(np.array([1, 2]) * sk.Max(r)))
t("w bool arr", lambda: sk.shapley(np.array([True, False]) * sk.Max(r)))
t("w complex", lambda: sk.shapley(np.array([1j, 2]) * sk.Max(r)))
t("w str", lambda: sk.shapley("a" * sk.Max(r)))
t("w str arr", lambda: sk.shapley(np.array(["1", "2"]) * sk.Max(r)))
t("w list", lambda: sk.shapley([1, 2] * sk.Max(r)))
t("w Fraction", lambda: sk.shapley(Fraction(1, 2) * sk.Max(r)))
t("w 10**400", lambda: sk.shapley(10**400 * sk.Max(r)))
t("w wrong", lambda: sk.shapley(np.ones(3) * sk.Max(r)))
t(
    "w mutated later",
    lambda: (lambda w, g: (w.__setitem__(slice(None), 0), sk.shapley(g)))(*(lambda w: (w, w * sk.Max(r)))(np.ones(2))),
)
t("div arr", lambda: sk.Max(r) / np.ones(2))
t("div 1e-320", lambda: sk.shapley(sk.Max(r) / 1e-320))
t("overflow weights", lambda: sk.shapley(1e200 * (1e200 * sk.Max(r))))
t("f32 weight 1e39", lambda: sk.shapley(1e39 * sk.Max(r.astype("f4"))))
t("f32 weight 1e-46", lambda: sk.shapley(1e46 * (1e-46 * sk.Max(r.astype("f4")))))
t("arr f32 1e39", lambda: sk.shapley(np.array([1e39, 1]) * sk.Max(r.astype("f4"))))
t("add numbers", lambda: sk.Max(r) + 1)
t("sum", lambda: sk.shapley(sum([sk.Max(r), sk.Min(r)])))
t("0*inf", lambda: sk.shapley(0 * sk.Max(np.array([[np.inf, 1]]))))
t("tensor*numpy", lambda: torch.ones(2) * sk.Max(r))
t("tensor * game", lambda: sk.shapley(torch.ones(2) * sk.Max(torch.tensor(r))))
t("numpy0d", lambda: sk.shapley(np.array(2.0) * sk.Max(r[0])))
t("interactions n0", lambda: sk.interactions(sk.Max(np.zeros((2, 0)))))
t("interactions n1", lambda: sk.interactions(sk.Max(np.ones((2, 1)))))
t("interactions NaN prop", lambda: sk.interactions(sk.Max(np.array([[1, np.nan], [1, 2.0]])), nan="propagate"))
t("interactions NaN prop", lambda: sk.interactions(sk.LogSum(np.array([[1, np.nan], [1, 2.0]])), nan="propagate"))
t(
    "interactions NaN masked",
    lambda: sk.interactions(sk.LogSum(np.array([[1, np.nan], [1, 2.0]]), mask=np.array([[True, False], [True, True]]))),
)
t(
    "interactions NaN masked table",
    lambda: sk.interactions(sk.Table(np.array([0, 1, np.nan, np.nan]), mask=np.array([True, False]))),
)
t("interactions STII sum", lambda: np.triu(sk.interactions(sk.Max(r), "STII")).sum((-1, -2)) - r.max(1))
t("interactions big", lambda: sk.interactions(sk.LogSum(np.ones((1, 17)))))
t("interactions zero batch", lambda: sk.interactions(sk.LogSum(np.ones((0, 5)))).shape)
t("interactions grad", lambda: sk.interactions(sk.Max(torch.tensor(r, requires_grad=True))).requires_grad)
t("interactions LogSum grad", lambda: sk.interactions(sk.LogSum(torch.tensor(r, requires_grad=True))).requires_grad)
t("interactions f16", lambda: sk.interactions(sk.Max(r.astype("f2"))).dtype)
t("interactions int", lambda: sk.interactions(3))
