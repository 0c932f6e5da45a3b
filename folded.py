"""SGN for inference: what is the same for every clip is computed once.

net = Folded(load_checkpoint("results/NUCLA/SGN/0_best.pth")[0])
logits = net(clips)                                        # (batch, 20, 60) -> (batch, 10)
"""

import torch
from torch import nn
from torch.nn import functional as F

PART = 8  # clips that a CPU takes at a time: what lies between two layers is then still in its caches


class Folded(nn.Module):
    """SGN for inference, made from a trained SGN by one call, `Folded(net)`: same logits up to rounding, faster.

    Batch norms become part of the layers beside them, the joint types' and frame indices' shares of the later layers
    become constants for each joint or frame, and theta and phi become one form; what is constant over j leaves the
    softmax unchanged and is dropped. As W (G x) = G (W x), a graph convolution is one matrix product, x [W, W1], and
    one product with G that adds to it.

    Takes and returns what SGN does, in any floating type. amp: all products in bfloat16; the velocities, which are
    small differences, and the first layer stay in the type of `net`, and so do the logits.
    It has no gradients, and does not follow later changes of `net`. Raises ValueError for an ablated network.
    """

    @torch.no_grad()
    def __init__(self, net, amp=False):
        super().__init__()
        if net.ablate:
            raise ValueError(f"ablated ({', '.join(net.ablate)}): the folded form is of the whole network alone")
        self.num_classes, self.num_joint, self.seg = net.num_classes, net.num_joint, net.seg
        joint_type, j, c = net.spa_embed.all_types(), net.num_joint, 64  # x = [dynamics, joint type], c channels each

        # Dynamics: the first layers of position and velocity side by side, after the norm of the input
        position, velocity = net.joint_embed.cnn, net.dif_embed.cnn
        for name, i in (("norm_w", 0), ("norm_b", 1)):  # (j, 6), of a channel coordinate * j + joint
            parts = [_scale_shift(embed[0].bn)[i].view(3, j).t() for embed in (position, velocity)]
            self.register_buffer(name, torch.cat(parts, dim=1))
        first = torch.block_diag(position[1].weight, velocity[1].weight).t()
        self._keep("embed", first, torch.cat([position[1].bias, velocity[1].bias]))
        amp = torch.bfloat16 if amp else None
        self._keep("position", position[3].weight.t(), position[3].bias, amp)
        self._keep("velocity", velocity[3].weight.t(), velocity[3].bias, amp)

        # Graph: d_i M d_j + u . d_j + what meets the joint type of j, side by side
        theta, phi = net.compute_g1.g1, net.compute_g1.g2
        m, u = theta.weight.t() @ phi.weight, theta.bias @ phi.weight
        right = torch.block_diag(torch.eye(c).to(m), joint_type.t())  # d_j has the first c channels, its type the rest
        self._keep("graph", m[:c] @ right, (joint_type @ m[c:] + u) @ right, amp)

        for name in ("gcn1", "gcn2", "gcn3"):
            gcn = getattr(net, name)
            scale, shift = _scale_shift(gcn.bn)
            weight = torch.cat([gcn.w.weight.t() * scale, gcn.w1.weight.t() * scale], dim=1)
            bias = torch.cat([torch.zeros_like(shift), gcn.w1.bias * scale + shift])
            if name == "gcn1":
                weight, bias = weight[:c], joint_type @ weight[c:] + bias
            self._keep(name, weight, bias, amp)

        cnn = net.cnn
        self._keep("frame_index", net.tem_embed.all_types(), None, amp)
        scale, shift = _scale_shift(cnn.bn1)
        taps = cnn.cnn1.weight.squeeze(2).permute(2, 1, 0).flatten(0, 1)  # (3 * 256, 256)
        self._keep("cnn1", taps * scale, cnn.cnn1.bias * scale + shift, amp)
        scale, shift = _scale_shift(cnn.bn2)
        self._keep("cnn2", cnn.cnn2.weight.flatten(1).t() * scale, cnn.cnn2.bias * scale + shift, amp)
        self._keep("fc", net.fc.weight.t(), net.fc.bias)

    def _keep(self, name, weight, bias=None, dtype=None):
        self.register_buffer(f"{name}_w", weight.contiguous().clone().to(dtype or weight.dtype))
        if bias is not None:
            self.register_buffer(f"{name}_b", bias.contiguous().clone().to(dtype or bias.dtype))

    @torch.no_grad()
    def forward(self, x):
        if not torch.compiler.is_compiling() and x.device.type == "cpu" and len(x) > PART:
            return torch.cat([self.logits(part) for part in x.split(PART)])
        return self.logits(x)

    def logits(self, x):
        b, t, j = len(x), self.seg, self.num_joint
        velocity = F.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0))
        x = torch.cat([x.reshape(b * t, j, 3), velocity.view(b * t, j, 3)], dim=-1)
        x = torch.addcmul(self.norm_b, x, self.norm_w).flatten(0, 1)
        x = torch.addmm(self.embed_b, x, self.embed_w).relu_().to(self.position_w.dtype)
        d = torch.addmm(self.position_b, x[:, :64], self.position_w).relu_()
        d += torch.addmm(self.velocity_b, x[:, 64:], self.velocity_w).relu_()

        to_d, to_type = ((d @ self.graph_w).unflatten(0, (b * t, j)) + self.graph_b).split([64, j], dim=-1)
        g = torch.baddbmm(to_type, to_d, d.view(b * t, j, 64).transpose(1, 2)).softmax(dim=-1)

        y = (d @ self.gcn1_w).unflatten(0, (b * t, j)) + self.gcn1_b
        x = _mix(g, y)
        x = _mix(g, torch.addmm(self.gcn2_b, x, self.gcn2_w).unflatten(0, (b * t, j)))
        x = _mix(g, torch.addmm(self.gcn3_b, x, self.gcn3_w).unflatten(0, (b * t, j)))

        x = F.pad(x.unflatten(0, (b, t, j)).amax(dim=2) + self.frame_index_w, (0, 0, 1, 1))
        x = torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:]], dim=-1).flatten(0, 1)
        x = torch.addmm(self.cnn1_b, x, self.cnn1_w).relu_()
        x = torch.addmm(self.cnn2_b, x, self.cnn2_w).relu_().unflatten(0, (b, t))
        return torch.addmm(self.fc_b, x.amax(dim=1).to(self.fc_w.dtype), self.fc_w)


def _mix(g, y):
    """ReLU(G (W x) + W1 x), from y = [W x, W1 x]: (frames, j, 2c) -> tokens (frames * j, c)."""
    mixed, kept = y.chunk(2, dim=-1)
    return torch.baddbmm(kept, g, mixed).relu_().flatten(0, 1)


def _scale_shift(bn):
    """What a batch norm does in evaluation: x * scale + shift."""
    scale = bn.weight * (bn.running_var + bn.eps).rsqrt()
    return scale, bn.bias - bn.running_mean * scale
