"""SGN in its fast form, for deployment alone: a second writing, compared with model.py by tests and exports."""

import torch
from torch import nn
from torch.nn import functional as F

from engine.distributed import CPU_BATCH
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

        # Dynamics: the first layers of position and velocity side by side, after the norm of the input
        position, velocity = net.joint_embed.cnn, net.dif_embed.cnn
        for name, i in (("norm_w", 0), ("norm_b", 1)):  # (j, 6), from channels coordinate * j + joint
            parts = [_scale_shift(embed[0].bn)[i].view(3, j).t() for embed in (position, velocity)]
            self.register_buffer(name, torch.cat(parts, dim=1))
        first = torch.block_diag(position[1].weight, velocity[1].weight).t()
        self._add_layer("embed", first, torch.cat([position[1].bias, velocity[1].bias]))
        self._add_layer("position", position[3].weight.t(), position[3].bias, dtype)
        self._add_layer("velocity", velocity[3].weight.t(), velocity[3].bias, dtype)

        # Graph: d_i M d_j + u . d_j, and beside it the part with the joint type of j
        theta, phi = net.compute_g1.g1, net.compute_g1.g2
        m, u = theta.weight.t() @ phi.weight, theta.bias @ phi.weight
        eye = torch.eye(c, dtype=m.dtype, device=m.device)
        right = torch.block_diag(eye, joint_type.t())  # the first c columns: d_j; the others: its type
        self._add_layer("graph", m[:c] @ right, (joint_type @ m[c:] + u) @ right, dtype)

        for name in ("gcn1", "gcn2", "gcn3"):
            gcn = getattr(net, name)
            scale, shift = _scale_shift(gcn.bn)
            weight = torch.cat([gcn.w.weight.t() * scale, gcn.w1.weight.t() * scale], dim=1)
            bias = torch.cat([torch.zeros_like(shift), gcn.w1.bias * scale + shift])
            if name == "gcn1":
                weight, bias = weight[:c], joint_type @ weight[c:] + bias
            self._add_layer(name, weight, bias, dtype)

        cnn = net.cnn
        self._add_layer("frame_index", net.tem_embed.all_types(), None, dtype)
        scale, shift = _scale_shift(cnn.bn1)
        taps = cnn.cnn1.weight.squeeze(2).permute(2, 1, 0).flatten(0, 1)  # (3 * 256, 256)
        self._add_layer("cnn1", taps * scale, cnn.cnn1.bias * scale + shift, dtype)
        scale, shift = _scale_shift(cnn.bn2)
        self._add_layer("cnn2", cnn.cnn2.weight.flatten(1).t() * scale, cnn.cnn2.bias * scale + shift, dtype)
        self._add_layer("fc", net.fc.weight.t(), net.fc.bias)

    def _add_layer(self, name, weight, bias=None, dtype=None):
        self.register_buffer(f"{name}_w", weight.contiguous().clone().to(dtype or weight.dtype))
        if bias is not None:
            self.register_buffer(f"{name}_b", bias.contiguous().clone().to(dtype or bias.dtype))

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
        x = (x * self.norm_w + self.norm_b).flatten(0, 1)
        x = torch.addmm(self.embed_b, x, self.embed_w).relu_().to(self.position_w.dtype)
        d = torch.addmm(self.position_b, x[:, :64], self.position_w).relu_()
        d += torch.addmm(self.velocity_b, x[:, 64:], self.velocity_w).relu_()

        to_d, to_type = ((d @ self.graph_w).unflatten(0, (b * t, j)) + self.graph_b).split([64, j], dim=-1)
        g = torch.baddbmm(to_type, to_d, d.view(b * t, j, 64).transpose(1, 2)).softmax(dim=-1)

        x = _apply_graph(g, (d @ self.gcn1_w).unflatten(0, (b * t, j)) + self.gcn1_b)
        x = _apply_graph(g, torch.addmm(self.gcn2_b, x, self.gcn2_w).unflatten(0, (b * t, j)))
        x = _apply_graph(g, torch.addmm(self.gcn3_b, x, self.gcn3_w).unflatten(0, (b * t, j)))

        x = F.pad(x.unflatten(0, (b, t, j)).amax(dim=2) + self.frame_index_w, (0, 0, 1, 1))
        x = torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:]], dim=-1).flatten(0, 1)
        x = torch.addmm(self.cnn1_b, x, self.cnn1_w).relu_()
        x = torch.addmm(self.cnn2_b, x, self.cnn2_w).relu_().unflatten(0, (b, t))
        return torch.addmm(self.fc_b, x.amax(dim=1).to(self.fc_w.dtype), self.fc_w)


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
