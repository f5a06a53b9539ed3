"""The losses of the vectors, written out as their definitions say, in double precision.

Nothing here is shared with dbloss or taken from another program: each function is the formula of a
paper over PyTorch tensors, and its derivative is autograd's. z are logits, y targets of 0 and 1, n
the number of positives of each class and N the number of images.
"""

import torch
from torch.nn.functional import softplus


def bce(z, y):
    """Element-wise binary cross-entropy of logits."""
    return softplus(z) - y * z


def inverse_frequency(y, n, N, params):
    return (N / n).expand_as(y)


def root_inverse_frequency(y, n, N, params):
    return (N / n).sqrt().expand_as(y)


def class_balanced(y, n, N, params):
    """(1 - b) / (1 - b^m): m is the class's own n, or one number for all classes of an image."""
    b, mode = params["CB_loss"]["CB_beta"], params["CB_loss"]["CB_mode"]

    def weight(m):
        return (1 - b) / (1 - b**m)

    positives = y.sum(1, keepdim=True)
    if mode == "by_class":
        return weight(n).expand_as(y)
    if mode == "average_n":
        return weight((y * n).sum(1, keepdim=True) / positives).expand_as(y)
    if mode == "average_w":
        return ((y * weight(n)).sum(1, keepdim=True) / positives).expand_as(y)
    if mode == "min_n":
        rarest = torch.where(y > 0, n, torch.inf).min(1, keepdim=True).values
        return weight(rarest).expand_as(y)
    raise ValueError(f"unknown mode {mode}")


def rebalanced(y, n, N, params):
    """alpha + sigmoid(beta (r - mu)): r is the share of an image's sampling that a class asks for."""
    smooth = params["map_param"]
    rarity = 1 / n
    r = rarity / (y * rarity).sum(1, keepdim=True)
    return smooth["alpha"] + torch.sigmoid(smooth["beta"] * (r - smooth["gamma"]))


WEIGHTS = {
    "inv": inverse_frequency,
    "sqrt_inv": root_inverse_frequency,
    "CB": class_balanced,
    "rebalance": rebalanced,
}


def focused(loss, l, gamma, balance):
    """`loss` under the factor balance (1 - p_t)^gamma, where p_t = exp(-l)."""
    return balance * (1 - torch.exp(-l)) ** gamma * loss


def published(z, y, n, N, params):
    """A case of losses.json: the mean over images and classes."""
    if params["kind"] == "ce":
        return bce(z, y).mean()
    if params["kind"] == "focal":
        l = bce(z, y)
        return focused(l, l, params["gamma"], params["balance_param"]).mean()
    assert params["kind"] == "rs", params
    weight = WEIGHTS[params["reweight_func"]](y, n, N, params)
    norm = params.get("weight_norm")
    if norm == "by_instance":
        weight = weight / weight.max(1, keepdim=True).values
    elif norm == "by_batch":
        weight = weight / weight.max()
    else:
        assert norm is None, norm
    if params["logit_reg"]:
        # Negatives are scaled by lambda in the logit and by its inverse in the loss; both sides are
        # shifted by the class's prior.
        kappa, scale = params["logit_reg"]["init_bias"], params["logit_reg"]["neg_scale"]
        shift = -torch.log(N / n - 1) * kappa / scale
        z = (z + shift) * torch.where(y > 0, 1.0, scale)
        weight = weight * torch.where(y > 0, 1.0, 1 / scale)
    l = bce(z, y)
    loss = weight * l
    if params["focal"]["focal"]:
        loss = focused(loss, l, params["focal"]["gamma"], params["focal"]["balance_param"])
    return loss.mean()


def held(value, constant):
    """The value; without a derivative if it is to be constant."""
    return value.detach() if constant else value


def asymmetric(z, y, params, polynomial=(0.0, 0.0)):
    """ASL; APL with the first two coefficients of its polynomial for positives."""
    p = torch.sigmoid(z)
    q = (1 - p + params["clip"]).clamp(max=1)
    floor = params.get("eps", 1e-8)
    positive = torch.log(p.clamp(min=floor))
    positive = positive + polynomial[0] * (1 - p) + polynomial[1] / 2 * (1 - p) ** 2
    negative = torch.log(q.clamp(min=floor))
    constant = params.get("detach_focusing", params.get("disable_torch_grad_focal_loss", False))
    focus = (1 - p) ** params["gamma_pos"] * y + (1 - q) ** params["gamma_neg"] * (1 - y)
    return -(held(focus, constant) * (y * positive + (1 - y) * negative)).sum()


def hill(z, y, params):
    """Focal loss with a margin on positives; a hill that spares confident negatives."""
    p = torch.sigmoid(z)
    shifted = z - params["margin"]
    positive = softplus(-shifted) * (1 - torch.sigmoid(shifted)) ** params["gamma"]
    negative = (params["lamb"] - p) * p**2
    return (y * positive + (1 - y) * negative).sum()


def two_way(z, y, params):
    """Softmax of positives against negatives, over the classes of an image and over the images of a
    class, where there is a positive."""

    def over(dim):
        t_n, t_p = params["tn"], params["tp"]
        negative = torch.logsumexp(torch.where(y > 0, -torch.inf, z / t_n), dim)
        positive = torch.logsumexp(torch.where(y > 0, -z / t_p, -torch.inf), dim)
        some = y.sum(dim) > 0
        return softplus(t_n * negative + t_p * positive)[some].mean()

    return over(1) + over(0)


def zlpr(z, y, params):
    zero = torch.zeros_like(z[:, :1])
    negative = torch.where(y > 0, -torch.inf, z)
    positive = torch.where(y > 0, -z, -torch.inf)
    sides = [torch.logsumexp(torch.cat([zero, side], 1), 1) for side in (negative, positive)]
    return sum(sides).mean()


NEWER = {
    "asl": asymmetric,
    "apl": lambda z, y, params: asymmetric(z, y, params, (1.0, -2.5)),
    "hill": hill,
    "two-way": two_way,
    "zlpr": zlpr,
}
