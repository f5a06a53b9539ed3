"""Heads: logits, and the gradients of every parameter and of the input, as PyTorch computes them;
parameters and inputs follow from a formula."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from trajectory import elements, short, values

BATCH, CLASSES, WIDTH, SIDES = 3, 5, 6, (2, 4)
# The classes of each training image, for the graph; the last class has no image.
LABELS = [[0, 1], [0, 1, 2], [0], [1, 3], [2, 3], [3], [2, 3], [1], []]
NAMES = ["cat", "tv set", "dining_table", "Dog", "cow"]
SPELLING = {"cow": "young cow"}
WORDS = [("cat", 7), ("tv", 1), ("set", 2), ("dining", 3), ("table", 4), ("dog", 5), ("cow", 6),
         ("young", 8), ("other", 9)]
EMBEDDING, MAPS = [BATCH, WIDTH], [BATCH, *SIDES, WIDTH]


def tensor(name, shape):
    return torch.from_numpy(elements(name, math.prod(shape)).reshape(tuple(shape)))


def linear(p, x, s):
    return F.linear(x, p["head.weight"], p["head.bias"])


def cosine(p, x, s):
    scale = p["head.log_scale"].exp() if s.get("learn_scale") else s["scale"]
    z = F.cosine_similarity(x[:, None], p["head.weight"][None], dim=2) * scale
    return z + p["head.bias"] if s.get("bias") else z


def norm_weight(p, x, s):
    w = p["head.weight"]
    lengths = torch.linalg.vector_norm(w, dim=1)
    z = torch.stack([x @ row / length ** s["tau"] for row, length in zip(w, lengths)], 1)
    return z + p["head.bias"] if s.get("bias") else z


def csra(p, x, s):
    places = x.flatten(1, 2)
    z = 0
    for number, t in enumerate(s["temperatures"]):
        w = F.normalize(p[f"head.{number}.weight"], dim=1)
        scores = torch.einsum("nkf,cf->nck", places, w)
        if t == "inf":
            attended = scores.amax(2)
        else:
            attended = (F.softmax(t * scores, dim=2) * scores).sum(2)
        z = z + scores.mean(2) + s["lambda"] * attended
    return z


def ml_decoder(p, x, s):
    q = lambda name: p[f"head.{name}"]
    width = s["width"]
    norm = lambda k, h: F.layer_norm(h, (width,), q(f"{k}.weight"), q(f"{k}.bias"))
    memory = F.relu(F.linear(x.flatten(1, 2), q("embed.weight"), q("embed.bias")))
    queries = q("queries").expand(len(x), -1, -1)
    h = norm("norm1", queries + queries)
    # [places, N, width] is what this function takes.
    found, _ = F.multi_head_attention_forward(
        h.transpose(0, 1), memory.transpose(0, 1), memory.transpose(0, 1), width,
        s["attention_heads"], q("attention.in_proj.weight"), q("attention.in_proj.bias"), None, None,
        False, 0.0, q("attention.out_proj.weight"), q("attention.out_proj.bias"), training=False,
    )
    h = norm("norm2", h + found.transpose(0, 1))
    hidden = F.relu(F.linear(h, q("linear1.weight"), q("linear1.bias")))
    h = norm("norm3", h + F.linear(hidden, q("linear2.weight"), q("linear2.bias")))
    z = torch.stack([h[:, g] @ w for g, w in enumerate(q("group_weight"))], 1)
    return z.flatten(1)[:, :CLASSES] + q("bias")


def graph(s):
    """The matrix of the paper's section 3.3, normalised as in its authors' code."""
    present = np.zeros((len(LABELS), CLASSES))
    for row, classes in enumerate(LABELS):
        present[row, classes] = 1
    both = present.T @ present
    images = both.diagonal().copy()
    np.fill_diagonal(both, 0)
    chance = np.divide(both, images[:, None], out=np.zeros_like(both), where=images[:, None] > 0)
    edges = (chance >= s["threshold"]).astype(float)
    share = s["reweight"] / (1 - s["reweight"])
    a = np.eye(CLASSES) + share * edges / (edges.sum(0, keepdims=True) + 1e-6)
    d = np.diag(a.sum(1) ** -0.5)
    return torch.from_numpy(d @ a.T @ d)


def vectors(s):
    if "words" not in s:
        return torch.eye(CLASSES, dtype=torch.float64)
    known = {word: tensor(f"word.{seed}", [s["dimensions"]]).float() for word, seed in WORDS}
    words = [["cat"], ["tv", "set"], ["dining", "table"], ["dog"], ["young", "cow"]]
    means = [torch.stack([known[w].double() for w in of_class]).mean(0) for of_class in words]
    return torch.stack(means).float().double()


def ml_gcn(p, x, s):
    # The heads keep both in the type of the parameters; here that is double, from single.
    g = graph(s).float().double()
    h = F.leaky_relu(g @ vectors(s) @ p["head.gc1.weight"], 0.2)
    w = g @ h @ p["head.gc2.weight"]
    pooled = x.amax((1, 2)) if s["pooling"] == "max" else x
    return pooled @ w.T


def oltr(p, x, s):
    q = lambda name: p[f"head.{name}"]
    seen = [c for c in range(CLASSES) if s["seen"][c]]
    if not seen:
        u = x
    else:
        memory = q("centroids")[seen]
        read = F.softmax(F.linear(x, q("hallucinator.weight"), q("hallucinator.bias"))[:, seen], 1)
        selector = torch.tanh(F.linear(x, q("selector.weight"), q("selector.bias")))
        nearest = torch.cdist(x, memory, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
        u = s["reach"] / nearest[:, None] * (x + selector * (read @ memory))
    length = torch.linalg.vector_norm(u, dim=1, keepdim=True)
    return s["scale"] * (u / (1 + length)) @ F.normalize(q("weight"), dim=1).T


FUNCTIONS = {"linear": linear, "cosine": cosine, "norm-weight": norm_weight, "csra": csra,
             "ml-decoder": ml_decoder, "ml-gcn": ml_gcn, "oltr": oltr}
WEIGHT = {"head.weight": [CLASSES, WIDTH]}
BIAS = {"head.bias": [CLASSES]}
DECODER = {"groups": 3, "width": 8, "attention_heads": 2, "feed_forward": 10, "dropout": 0.1}
# The kind, its settings, the shape of the input, the shapes of the parameters that learn and of
# those that do not and follow from the formula too.
CASES = [
    ("linear", {}, EMBEDDING, WEIGHT | BIAS, {}),
    ("cosine", {"scale": 16.0}, EMBEDDING, WEIGHT, {}),
    ("cosine", {"scale": 30.0, "learn_scale": True, "bias": True}, EMBEDDING,
     WEIGHT | {"head.log_scale": [1]} | BIAS, {}),
    ("norm-weight", {"tau": 1.0}, EMBEDDING, WEIGHT, {}),
    ("norm-weight", {"tau": 0.7, "bias": True}, EMBEDDING, WEIGHT | BIAS, {}),
    ("csra", {"lambda": 0.1, "temperatures": [1.0]}, MAPS, {"head.0.weight": [CLASSES, WIDTH]}, {}),
    ("csra", {"lambda": 0.4, "temperatures": [1.0, 3.0, "inf"]}, MAPS,
     {f"head.{k}.weight": [CLASSES, WIDTH] for k in range(3)}, {}),
    *(
        ("ml-decoder", DECODER | {"groups": groups}, MAPS,
         {"head.embed.weight": [8, WIDTH], "head.embed.bias": [8]}
         | {f"head.norm{k}.{part}": [8] for k in (1, 2, 3) for part in ("weight", "bias")}
         | {"head.attention.in_proj.weight": [24, 8], "head.attention.in_proj.bias": [24],
            "head.attention.out_proj.weight": [8, 8], "head.attention.out_proj.bias": [8],
            "head.linear1.weight": [10, 8], "head.linear1.bias": [10],
            "head.linear2.weight": [8, 10], "head.linear2.bias": [8],
            "head.group_weight": [min(groups, CLASSES), 8, math.ceil(CLASSES / min(groups, CLASSES))]}
         | BIAS,
         {"head.queries": [min(groups, CLASSES), 8]})
        for groups in (3, 100)
    ),
    *(
        ("ml-gcn", {"threshold": t, "reweight": r, "hidden": 7, "pooling": pooling} | words, shape,
         {"head.gc1.weight": [words.get("dimensions", CLASSES), 7], "head.gc2.weight": [7, WIDTH]}, {})
        for t, r, pooling, shape, words in [
            (0.4, 0.2, "max", MAPS, {}),
            (0.3, 0.3, "embedding", EMBEDDING, {"words": True, "dimensions": 4}),
        ]
    ),
    *(
        ("oltr", {"momentum": 0.9, "reach": 10.0, "scale": 16.0, "seen": seen}, EMBEDDING,
         {"head.hallucinator.weight": [CLASSES, WIDTH], "head.hallucinator.bias": [CLASSES],
          "head.selector.weight": [WIDTH, WIDTH], "head.selector.bias": [WIDTH]} | WEIGHT,
         {"head.centroids": [CLASSES, WIDTH]})
        for seen in ([1, 1, 0, 1, 0], [0, 0, 0, 0, 0])
    ),
]


def case(kind, settings, shape, learning, kept):
    p = {name: values(name, tuple(s)).float().double() for name, s in (learning | kept).items()}
    x = tensor("input", shape).requires_grad_()
    for name in learning:
        p[name].requires_grad_()
    z = FUNCTIONS[kind](p, x, settings)
    (z * tensor("probe", z.shape)).sum().backward()
    zero = lambda t: torch.zeros_like(t) if t.grad is None else t.grad
    return {"kind": kind, "settings": settings, "input_shape": shape, "logits": z.flatten().tolist(),
            "input_gradient": x.grad.flatten().tolist(),
            "gradients": {name: zero(p[name]).flatten().tolist() for name in learning}}


def make():
    return {
        "source": "PyTorch, double precision",
        "labels": LABELS,
        "classes": NAMES,
        "spelling": SPELLING,
        "words": [[word, tensor(f"word.{seed}", [4]).tolist()] for word, seed in WORDS],
        "heads": short([case(*c) for c in CASES]),
    }


def check(stored, made, agreement):
    for ours, theirs in zip(stored["heads"], made["heads"], strict=True):
        assert (ours["kind"], ours["settings"]) == (theirs["kind"], theirs["settings"])
        pairs = [(key, ours[key], theirs[key]) for key in ("logits", "input_gradient")]
        assert list(ours["gradients"]) == list(theirs["gradients"])
        pairs += [("gradients", ours["gradients"][k], theirs["gradients"][k]) for k in ours["gradients"]]
        for what, expected, found in pairs:
            size = np.abs(np.array(expected)).max(initial=0)
            agreement.see(what, found, expected, 1e-8 * max(size, 1e-30))
