"""SGN in its fast form, for deployment alone: a second writing, compared with model.py by tests and exports."""

import torch
from torch import nn
from torch.nn import functional as F

from engine.device import CPU_BATCH
from model import SGN, apply_stream


class Folded(nn.Module):
    """A trained SGN for inference: the same logits up to rounding, faster, without gradients.

    Batch norms are folded into the layers beside them. What is the same for all clips is computed once: the parts of
    the joint types and frame indices, and the product of theta and phi. What is constant over j drops out of the
    softmax. As W (G x) = G (W x), a graph convolution is one product, x [W, W1], and one with G.

    Takes and returns what SGN does. dtype: of the products (torch.bfloat16, torch.float16), except the first layer's,
    whose velocities are small differences; the logits keep the type of `net`. Does not follow later changes of `net`.
    Raises ValueError for an ablation, a variant or a subclass, of which this writing knows nothing.
    """

    @torch.no_grad()
    def __init__(self, net, dtype=None):
        super().__init__()
        if not net.is_plain or type(net) is not SGN:
            raise ValueError("only the paper's network has a folded form, no ablation, variant or subclass")
        self.num_classes, self.num_joint, self.seg = net.num_classes, net.num_joint, net.seg
        self.register_buffer("stream", None if net.stream is None else net.stream.clone())
        joint_type, j, c = net.spa_embed.all_types(), net.num_joint, 64  # x = [dynamics, joint type], c channels each

        # Dynamics: the first layers of position and velocity side by side. A norm has channels coordinate * j + joint
        position, velocity = net.joint_embed.cnn, net.dif_embed.cnn
        norms = [torch.stack(_scale_shift(embed[0].bn)).view(2, 3, j).mT for embed in (position, velocity)]
        self.register_buffer("norm", torch.cat(norms, dim=2))  # scale and shift, (2, j, 6)
        bias = torch.cat([position[1].bias, velocity[1].bias])
        self.embed = _Product(torch.block_diag(position[1].weight, velocity[1].weight).t(), bias)
        self.position = _Product(position[3].weight.t(), position[3].bias, dtype)
        self.velocity = _Product(velocity[3].weight.t(), velocity[3].bias, dtype)

        # Graph: d_i M d_j + u . d_j, and beside it the part with the joint type of j
        theta, phi = net.compute_g1.g1, net.compute_g1.g2
        m, u = theta.weight.t() @ phi.weight, theta.bias @ phi.weight
        right = torch.block_diag(torch.eye(c).to(m), joint_type.t())  # the first c columns: d_j; the others: its type
        self.affinity = _Product(m[:c] @ right, (joint_type @ m[c:] + u) @ right, dtype)

        for name in ("gcn1", "gcn2", "gcn3"):
            gcn = getattr(net, name)
            own, bias = _fold(gcn.w1.weight.t(), gcn.w1.bias, gcn.bn)
            others, none = _scale_shift(gcn.bn)[0] * gcn.w.weight.t(), torch.zeros_like(bias)
            weight, bias = torch.cat([others, own], dim=1), torch.cat([none, bias])
            if name == "gcn1":
                weight, bias = weight[:c], joint_type @ weight[c:] + bias
            setattr(self, name, _Product(weight, bias, dtype))

        cnn = net.cnn
        self.register_buffer("frame_index", net.tem_embed.all_types().to(dtype or m.dtype))
        taps = cnn.cnn1.weight.squeeze(2).permute(2, 1, 0).flatten(0, 1)  # (3 * 256, 256)
        self.cnn1 = _Product(*_fold(taps, cnn.cnn1.bias, cnn.bn1), dtype)
        self.cnn2 = _Product(*_fold(cnn.cnn2.weight.flatten(1).t(), cnn.cnn2.bias, cnn.bn2), dtype)
        self.fc = _Product(net.fc.weight.t(), net.fc.bias)

    @torch.no_grad()
    def forward(self, x):
        if not torch.compiler.is_compiling() and x.device.type == "cpu" and len(x) > CPU_BATCH:
            return torch.cat([self.logits(part) for part in x.split(CPU_BATCH)])
        return self.logits(x)

    def logits(self, x):
        b, t, j = len(x), self.seg, self.num_joint
        if self.stream is not None:
            x = apply_stream(x, self.stream)
        velocity = F.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0))
        x = torch.cat([x.reshape(b * t, j, 3), velocity.view(b * t, j, 3)], dim=-1)
        x = (x * self.norm[0] + self.norm[1]).flatten(0, 1)
        x = self.embed(x).relu_().to(self.position.weight.dtype)
        d = self.position(x[:, :64]).relu_()
        d += self.velocity(x[:, 64:]).relu_()
        d = d.view(b * t, j, 64)

        to_d, to_type = self.affinity(d).split([64, j], dim=-1)
        g = torch.baddbmm(to_type, to_d, d.mT).softmax(dim=-1)
        x = _apply_graph(g, self.gcn1(d))
        x = _apply_graph(g, self.gcn2(x).unflatten(0, (b * t, j)))
        x = _apply_graph(g, self.gcn3(x).unflatten(0, (b * t, j)))

        x = F.pad(x.unflatten(0, (b, t, j)).amax(dim=2) + self.frame_index, (0, 0, 1, 1))
        x = torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:]], dim=-1).flatten(0, 1)
        x = self.cnn2(self.cnn1(x).relu_()).relu_().unflatten(0, (b, t))
        return self.fc(x.amax(dim=1).to(self.fc.weight.dtype))


class _Product(nn.Module):
    """x @ weight + bias: of tokens (n, in), or, with a bias for each joint, of (frames, joints, in)."""

    def __init__(self, weight, bias, dtype=None):
        super().__init__()
        for name, value in (("weight", weight), ("bias", bias)):
            self.register_buffer(name, value.contiguous().clone().to(dtype or value.dtype))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight) if self.bias.dim() == 1 else x @ self.weight + self.bias


def fast_form(net):
    """Folded(net), in evaluation mode, or the network itself if it has no folded form."""
    try:
        return Folded(net).eval()
    except ValueError:
        return net


def _apply_graph(g, y):
    """ReLU(G (W x) + W1 x) of y = [W x, W1 x]: (frames, j, 2c) -> tokens (frames * j, c)."""
    wx, w1x = y.chunk(2, dim=-1)
    return torch.baddbmm(w1x, g, wx).relu_().flatten(0, 1)


def _scale_shift(bn):
    """A batch norm in evaluation is x * scale + shift."""
    scale = bn.weight * (bn.running_var + bn.eps).rsqrt()
    return scale, bn.bias - bn.running_mean * scale


def _fold(weight, bias, bn):
    """Weight and bias of a layer with the batch norm after it."""
    scale, shift = _scale_shift(bn)
    return weight * scale, bias * scale + shift
