"""SGN: Semantics-Guided Neural Networks for Efficient Skeleton-Based Human Action Recognition (CVPR 2020).

This file needs torch alone and can be copied into another project:

    net = SGN(num_classes=60)                                  # 691,048 parameters
    net.load_state_dict(torch.load("0_best.pth", weights_only=True)["state_dict"])
    logits = net.eval()(clips)                                 # (batch, 20, 75) -> (batch, 60)

Names and shapes of the state dict are the release's, so checkpoints work in both directions. The release has channels
first, and 1x1 convolutions on (batch, channels, joints, frames). Here each joint of each frame is a token, tokens are
the rows of a matrix (batch * frames * joints, channels), and every layer is one matrix product, for any batch size.
In the comments b, t, j are batch, frames, joints.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

# The names that SGN(ablate=...) takes, and what each does to the paper's network
ABLATIONS = {
    "joint-type": "no joint type: G and the first graph convolution take the 64 channels of the dynamics alone",
    "frame-index": "no frame index: nothing is added before the frame-level module",
    "position-only": "no velocity: the dynamics are the embedded positions",
    "velocity-only": "no position: the dynamics are the embedded velocities",
    "identity-graph": "no graph: G is the identity, so that no joint knows of another before the max over joints",
    "skeleton-graph": "a fixed graph: G joins each joint with itself and the joints it has a bone to, weighted alike",
    "one-gcn": "one graph convolution, 128 -> 256",
    "two-gcn": "two graph convolutions, 128 -> 128 -> 256",
    "early-max": "max over joints of the dynamics: a frame is one node, with no graph, and no joint type to tell it by",
    "late-max": "max over joints at the end, with that over frames: the frame-level module takes each joint",
}
# Those that SGN(variant=...) takes, of layers that are not the paper's. A checkpoint keeps the name
VARIANTS = {
    "acceleration": "the dynamics have a third embedding beside position and velocity: a_t = v_t - v_(t-1), a_0 = 0"
}
CONTRADICTIONS = (
    {"position-only", "velocity-only"},
    {"identity-graph", "skeleton-graph", "early-max"},
    {"one-gcn", "two-gcn"},
    {"early-max", "late-max"},
    {"early-max", "joint-type"},
)


def parse_ablations(names):
    """Names of ABLATIONS, each once and in the order there, as a tuple. Raises ValueError for unknown names and for
    names that exclude each other."""
    unknown = [name for name in names if name not in ABLATIONS]
    if unknown:
        raise ValueError(f"{unknown[0]!r:.40} is not one of {', '.join(ABLATIONS)}")
    chosen = tuple(name for name in ABLATIONS if name in names)
    for group in CONTRADICTIONS:
        both = [name for name in chosen if name in group]
        if len(both) > 1:
            raise ValueError(f"{' and '.join(both)} exclude each other; take one of them")
    return chosen


class SGN(nn.Module):
    """The network of the paper's figure 2: dynamics representation, joint-level module, frame-level module.

    Input: (batch, seg, 3 * num_joint), positions in metres, joint by joint x y z, of any floating type that the module
    was moved to. Output: logits (batch, num_classes). Raises ValueError for an input of another shape.

    ablate: names of ABLATIONS (section 4 of the paper); ValueError for unknown or contradictory ones.
    edges: the bones of "skeleton-graph", pairs of joints counted from 0. A checkpoint needs none: its state dict has G.
    stream: a linear map of the joints, (3, num_joint, num_joint), one matrix each for x, y and z, that the input goes
    through first: that of the bone stream takes each joint relative to its parent (Skeleton.stream). None: the joints
    as they are. (): any such map, to be filled from a state dict.
    variant: a name of VARIANTS, if any; ValueError for an unknown one.
    """

    def __init__(self, num_classes=60, num_joint=25, seg=20, ablate=(), edges=None, stream=None, variant=None):
        super().__init__()
        self.num_classes, self.num_joint, self.seg = num_classes, num_joint, seg
        self.ablate = off = parse_ablations(ablate)
        if variant not in (None, *VARIANTS):
            raise ValueError(f"{variant!r:.60} is not one of {', '.join(VARIANTS)}")
        self.variant, self.is_plain = variant, not off and variant is None
        if ("skeleton-graph" in off) != (edges is not None):
            raise ValueError("edges are for skeleton-graph, which needs them")
        joint_type = not {"joint-type", "early-max"} & set(off)
        learned = not {"identity-graph", "skeleton-graph", "early-max"} & set(off)
        layers = 1 if "one-gcn" in off else 2 if "two-gcn" in off else 3
        dim = 128 if joint_type else 64
        self.register_buffer("stream", None if stream is None else torch.zeros(3, num_joint, num_joint))
        if stream is not None and len(stream):
            self.stream.copy_(torch.as_tensor(stream))
        # In the order of the release
        self.tem_embed = Embed(seg, 64, 256) if "frame-index" not in off else None  # frame index, section 3.3
        self.spa_embed = Embed(num_joint, 64, 64) if joint_type else None  # joint type, section 3.2
        norm = 3 * num_joint  # dynamics, section 3.1
        self.joint_embed = Embed(3, 64, 64, norm_channels=norm) if "velocity-only" not in off else None
        self.dif_embed = Embed(3, 64, 64, norm_channels=norm) if "position-only" not in off else None
        self.acc_embed = Embed(3, 64, 64, norm_channels=norm) if variant == "acceleration" else None
        self.cnn = FrameLevel(256, 512)  # frame-level module, section 3.3
        nodes = 1 if "early-max" in off else num_joint  # joint-level module, section 3.2
        self.compute_g1 = Graph(dim, 256) if learned else FixedGraph(nodes, () if edges is None else edges)
        self.gcn1 = GraphConv(dim, 128 if layers > 1 else 256)
        self.gcn2 = GraphConv(128, 256) if layers > 1 else None
        self.gcn3 = GraphConv(256, 256) if layers > 2 else None
        self.fc = nn.Linear(512, num_classes)
        self._initialise()

    def _initialise(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, math.sqrt(2 / (module.kernel_size[-1] * module.out_channels)))
        for module in self.modules():
            if isinstance(module, GraphConv):
                nn.init.zeros_(module.w.cnn.weight)

    @staticmethod
    def config_of(shapes, ablate=(), seg=None, variant=None):
        """The arguments of the SGN that a state dict of these {name: shape} belongs to.

        seg: for the ablation "frame-index", without which it is read off the shapes. Raises ValueError, KeyError or
        IndexError if it is no SGN's.
        """
        ablate = parse_ablations(ablate)
        embed = "dif_embed" if "velocity-only" in ablate else "joint_embed"
        return {
            "num_classes": shapes["fc.weight"][0],
            "num_joint": shapes[f"{embed}.cnn.0.bn.weight"][0] // 3,
            "seg": seg if "frame-index" in ablate else shapes["tem_embed.cnn.0.cnn.weight"][1],
            "ablate": ablate,
            "edges": () if "skeleton-graph" in ablate else None,
            "stream": () if "stream" in shapes else None,
            "variant": variant,
        }

    def forward(self, x):
        if x.dim() != 3 or x.shape[1:] != (self.seg, 3 * self.num_joint):
            raise ValueError(f"SGN takes (batch, {self.seg}, {3 * self.num_joint}), not {tuple(x.shape)}")
        b, t, j = len(x), self.seg, self.num_joint
        if self.stream is not None:
            with torch.autocast(x.device.type, enabled=False):  # bfloat16 would round centimetres away
                x = apply_stream(x, self.stream)

        # Dynamics (section 3.1): position and velocity, v_t = p_t - p_(t-1) with v_0 = 0, are embedded and added
        velocity = F.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0))
        if self.dif_embed is None:
            x = self.joint_embed(x)
        elif self.joint_embed is None:
            x = self.dif_embed(velocity)
        else:
            x = self.joint_embed(x) + self.dif_embed(velocity)
        if self.acc_embed is not None:
            x = x + self.acc_embed(F.pad(velocity[:, 1:] - velocity[:, :-1], (0, 0, 1, 0)))
        x = x.view(b * t, j, 64)
        if "early-max" in self.ablate:
            x = x.amax(dim=1, keepdim=True)

        # Joint type (section 3.2): x = concat(dynamics, joint type). It is the same in all frames, so it is passed on
        # by itself, (j, 64), and the layers that take it compute its part once; repeated, it costs 7% of a step
        joint_type = self.spa_embed.all_types() if self.spa_embed is not None else x.new_zeros(x.shape[1], 0)

        g = self.compute_g1(x, joint_type)  # (b*t, j, j), or (j, j) for all frames
        x = self.gcn1(x, g, joint_type)
        if self.gcn2 is not None:
            x = self.gcn2(x, g)
        if self.gcn3 is not None:
            x = self.gcn3(x, g)
        x = x.unflatten(0, (b, t))  # (b, t, j, 256)

        # Spatial max pooling. The frame index is the same for all joints of a frame, so it can be added afterwards
        if "late-max" not in self.ablate:
            x = x.amax(dim=2, keepdim=True)
        if self.tem_embed is not None:
            x = x + self.tem_embed.all_types()[:, None]
        x = self.cnn(x)  # (b, 512)
        return self.fc(x)


def apply_stream(x, stream):
    """Each coordinate's values of the joints through its matrix: (b, t, 3 * j) and (3, j, j) -> (b, t, 3 * j)."""
    return torch.einsum("cij,btjc->btic", stream, x.unflatten(2, (-1, 3))).flatten(2)


class Layer(nn.Module):
    """A 1x1 layer on tokens (..., in) -> (..., out). The release stores its weight as a convolution's."""

    def __init__(self, dim_in, dim_out, bias=True):
        super().__init__()
        self.cnn = nn.Conv2d(dim_in, dim_out, 1, bias=bias)

    @property
    def weight(self):
        return self.cnn.weight.flatten(1)

    @property
    def bias(self):
        return self.cnn.bias

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)


def linear(x, joint_type, weight, bias):
    """F.linear of concat(x, joint type), (frames, j, c) and (j, c'): the joint type's part is a bias of each joint."""
    of_x, of_type = weight.split([x.shape[-1], joint_type.shape[-1]], dim=1)
    return F.linear(x, of_x) + F.linear(joint_type, of_type, bias)


class NormData(nn.Module):
    """Batch norm of the input's channels (coordinate * joints + joint), (b, t, 3 * j) -> tokens (b*t*j, 3)."""

    def __init__(self, channels):
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x):
        b, t, channels = x.shape
        x = x.reshape(b * t, channels // 3, 3).transpose(1, 2).reshape(b * t, channels)
        return self.bn(x).view(b * t, 3, channels // 3).transpose(1, 2).reshape(-1, 3)


class Embed(nn.Module):
    """Two layers with ReLU (section 3.1), for the dynamics after a batch norm of the input."""

    def __init__(self, dim_in, dim_hidden, dim_out, norm_channels=0):
        super().__init__()
        layers = [Layer(dim_in, dim_hidden), nn.ReLU(inplace=True), Layer(dim_hidden, dim_out), nn.ReLU(inplace=True)]
        self.cnn = nn.Sequential(*([NormData(norm_channels)] if norm_channels else []), *layers)

    def forward(self, x):
        return self.cnn(x)

    def all_types(self):
        """The embeddings of all one-hot inputs, (dim_in, dim_out). Each picks a column of the first layer."""
        first, *rest = self.cnn
        x = first.weight.t() + first.bias
        for layer in rest:
            x = layer(x)
        return x


class Graph(nn.Module):
    """G = softmax(theta(x) phi(x)^T) over the joints of each frame (equation 2). x is concat(dynamics, joint type)."""

    def __init__(self, dim_in, dim_hidden):
        super().__init__()
        self.g1 = Layer(dim_in, dim_hidden)
        self.g2 = Layer(dim_in, dim_hidden)

    def forward(self, x, joint_type):
        """Dynamics (frames, j, c) and joint type (j, dim_in - c) -> (frames, j, j)."""
        # G = softmax(theta(x) @ phi(x).T). Both are linear: it is softmax(x M x.T + ...) with M = theta.T phi, 128x128,
        # in place of two layers 128->256. Without this a step takes 24% longer. `row` is the same for all j of G_ij
        # and cancels; it stands here for the bias of phi, which has weight decay, and a gradient of 0
        theta, phi = self.g1, self.g2
        xm = linear(x, joint_type, phi.weight.t() @ theta.weight, theta.bias @ phi.weight)
        row = linear(x, joint_type, (phi.bias @ theta.weight)[None], (theta.bias @ phi.bias)[None])
        xm, xm_type = xm.split([x.shape[-1], joint_type.shape[-1]], dim=-1)
        return torch.baddbmm(F.linear(xm_type, joint_type) + row, xm, x.transpose(1, 2)).softmax(dim=-1)


class FixedGraph(nn.Module):
    """One G for all frames: the adjacency matrix of the edges, with each joint joined to itself, rows normalized.

    Without edges it is the identity.
    """

    def __init__(self, num_joint, edges):
        super().__init__()
        g = torch.eye(num_joint)
        for i, j in edges:
            g[i, j] = g[j, i] = 1
        self.register_buffer("g", g / g.sum(dim=1, keepdim=True))

    def forward(self, x, joint_type):
        return self.g


class GraphConv(nn.Module):
    """Y = ReLU(BN(W G X + W1 X)), a graph convolution with a residual layer (equations 3 and 4)."""

    def __init__(self, dim_in, dim_out):
        super().__init__()
        self.bn = nn.BatchNorm1d(dim_out)
        self.w = Layer(dim_in, dim_out, bias=False)
        self.w1 = Layer(dim_in, dim_out)

    def forward(self, x, g, joint_type=None):
        """(frames, j, c) -> (frames, j, dim_out). g: (frames, j, j) or (j, j). X: x, or concat(x, joint type)."""
        if joint_type is None:
            y = self.w(g @ x) + self.w1(x)
        else:
            w, w_type = self.w.weight.split([x.shape[-1], joint_type.shape[-1]], dim=1)
            y = F.linear(g @ x, w) + g @ F.linear(joint_type, w_type)
            y = y + linear(x, joint_type, self.w1.weight, self.w1.bias)
        return F.relu(self.bn(y.flatten(0, 1)), inplace=True).unflatten(0, x.shape[:2])


class FrameLevel(nn.Module):
    """Two temporal convolutions and a max over the frames (section 3.3): (b, t, n, dim_in) -> (b, dim_out).

    n is 1 after the max over joints; else the joints, which are convolved apart, and the max is over them too.
    """

    def __init__(self, dim_in, dim_out):
        super().__init__()
        self.cnn1 = nn.Conv2d(dim_in, dim_in, (1, 3), padding=(0, 1))
        self.bn1 = nn.BatchNorm1d(dim_in)
        self.dropout = nn.Dropout1d(0.2)
        self.cnn2 = nn.Conv2d(dim_in, dim_out, 1)
        self.bn2 = nn.BatchNorm1d(dim_out)

    def forward(self, x):
        b, _, n, _ = x.shape
        x = x.permute(0, 2, 3, 1).flatten(0, 1)  # (b*n, dim_in, t)
        x = F.conv1d(x, self.cnn1.weight.squeeze(2), self.cnn1.bias, padding=1)
        x = x.unflatten(0, (b, n)).transpose(1, 2).flatten(2)  # (b, dim_in, n*t): dropout drops a channel in all joints
        x = self.dropout(F.relu(self.bn1(x)))
        x = F.conv1d(x, self.cnn2.weight.squeeze(2), self.cnn2.bias)
        return F.relu(self.bn2(x)).amax(dim=-1)
