"""SGN: Semantics-Guided Neural Networks for Efficient Skeleton-Based Human Action Recognition (CVPR 2020).

The file needs torch and numpy alone and can be copied into another project:

    net = SGN(num_classes=60)                                  # 691,048 parameters
    net.load_state_dict(torch.load("0_best.pth", weights_only=True)["state_dict"])
    logits = net.eval()(clips)                                 # (batch, 20, 75) -> (batch, 60)

Names and shapes of the state dict are those of the authors' release, so checkpoints pass in both directions.
The release works channels first, with 1x1 convolutions on (batch, channels, joints, frames). Here a joint of a frame
is a token, tokens are the rows of one matrix (batch * frames * joints, channels), and every layer is one plain matrix
product: no permutation, no copy, and any batch size. In the comments b, t, j are batch, frames and joints.
"""

import math
import os
import re
import warnings
import zipfile

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class SGN(nn.Module):
    """The network of the paper's figure 2: dynamics representation, joint-level module, frame-level module.

    Input: (batch, seg, 3 * num_joint), positions in metres, joint by joint, x y z; float32 or any floating type that
    the module was moved to. Output: logits (batch, num_classes). Raises ValueError for an input of another shape.
    (SPEC, "The network".)
    """

    def __init__(self, num_classes=60, num_joint=25, seg=20):
        super().__init__()
        self.num_classes, self.num_joint, self.seg = num_classes, num_joint, seg
        # In the order of the release, so that an optimiser's state passes between the two as well
        self.tem_embed = Embed(seg, 64, 256)  # frame index, section 3.3
        self.spa_embed = Embed(num_joint, 64, 64)  # joint type, section 3.2
        self.joint_embed = Embed(3, 64, 64, norm_channels=3 * num_joint)  # dynamics, section 3.1
        self.dif_embed = Embed(3, 64, 64, norm_channels=3 * num_joint)
        self.cnn = FrameLevel(256, 512)  # frame-level module, section 3.3
        self.compute_g1 = Graph(128, 256)  # joint-level module, section 3.2
        self.gcn1 = GraphConv(128, 128)
        self.gcn2 = GraphConv(128, 256)
        self.gcn3 = GraphConv(256, 256)
        self.fc = nn.Linear(512, num_classes)
        self._initialise()

    def _initialise(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, math.sqrt(2 / (module.kernel_size[-1] * module.out_channels)))
        for gcn in (self.gcn1, self.gcn2, self.gcn3):
            nn.init.zeros_(gcn.w.cnn.weight)

    def forward(self, x):
        if x.dim() != 3 or x.shape[1:] != (self.seg, 3 * self.num_joint):
            raise ValueError(f"SGN takes (batch, {self.seg}, {3 * self.num_joint}), not {tuple(x.shape)}")
        b, t, j = len(x), self.seg, self.num_joint

        # Dynamics: position and velocity, v_t = p_t - p_(t-1) with v_0 = 0, embedded apart and added
        velocity = F.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0))
        dynamics = self.joint_embed(x) + self.dif_embed(velocity)  # (b*t*j, 64)

        # Joint type: the same for every clip and frame, so it is embedded once, and is never repeated for them: a layer
        # on [dynamics, joint type] is a layer on the dynamics plus a constant for each joint
        x = dynamics.view(b * t, j, 64)
        joint_type = self.spa_embed.all_types()  # (j, 64)

        g = self.compute_g1(x, joint_type)  # (b*t, j, j)
        x = self.gcn1(x, g, joint_type)
        x = self.gcn2(x, g)
        x = self.gcn3(x, g)  # (b*t, j, 256)

        # Spatial max pooling. The frame index is the same for all joints of a frame, so it can be added after it
        x = x.amax(dim=1).view(b, t, 256) + self.tem_embed.all_types()
        x = self.cnn(x)  # (b, 512)
        return self.fc(x)


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
        """The embeddings of all one-hot inputs, (dim_in, dim_out): the first layer's columns stand for them."""
        first, *rest = self.cnn
        x = first.weight.t() + first.bias
        for layer in rest:
            x = layer(x)
        return x


class Graph(nn.Module):
    """G_ij = softmax over j of theta(x_i) . phi(x_j), in each frame (equations 2 and 3), of x = [dynamics, joint type].

    theta and phi are layers without a nonlinearity between them, so their product is one bilinear form:
    theta(x_i) . phi(x_j) = (M x_i + u) . x_j + w . x_i + c, with M = phi^T theta of 128x128 in place of two layers
    128->256. The last two terms are constant over j and leave G unchanged; they stay so that the bias of phi has its
    gradient of zero, and with it the weight decay it has in the release.
    """

    def __init__(self, dim_in, dim_hidden):
        super().__init__()
        self.g1 = Layer(dim_in, dim_hidden)
        self.g2 = Layer(dim_in, dim_hidden)

    def forward(self, x, joint_type):
        """(frames, j, dim_in / 2) and (j, dim_in / 2) -> (frames, j, j)."""
        theta, phi, s, c = self.g1, self.g2, joint_type, x.shape[-1]
        m, u = phi.weight.t() @ theta.weight, theta.bias @ phi.weight
        w, w0 = phi.bias @ theta.weight, theta.bias @ phi.bias
        # With x_j = [d_j, s_j]: the part that meets d_j, and the part that meets s_j, which holds w . x_i + c as well
        to_d = F.linear(x, m[:c, :c]) + (s @ m[:c, c:].t() + u[:c])
        to_s = F.linear(x, s @ m[c:, :c] + w[:c]) + ((s @ m[c:, c:].t() + u[c:]) @ s.t() + (s @ w[c:] + w0)[:, None])
        return torch.baddbmm(to_s, to_d, x.transpose(1, 2)).softmax(dim=-1)


class GraphConv(nn.Module):
    """ReLU(BN(W (G x) + W1 x + b1)), a graph convolution with a residual layer (equation 4)."""

    def __init__(self, dim_in, dim_out):
        super().__init__()
        self.bn = nn.BatchNorm1d(dim_out)
        self.w = Layer(dim_in, dim_out, bias=False)
        self.w1 = Layer(dim_in, dim_out)

    def forward(self, x, g, joint_type=None):
        """(frames, j, dim_in) -> (frames, j, dim_out); joint_type: the last channels of x, (j, ...), if not in x."""
        w, w1, c = self.w.weight, self.w1.weight, x.shape[-1]
        both = torch.cat([g @ x, x], dim=-1)
        y = F.linear(both, torch.cat([w[:, :c], w1[:, :c]], dim=1), self.w1.bias)
        if joint_type is not None:
            y = y + F.linear(joint_type, w1[:, c:]) + F.linear(g, w[:, c:] @ joint_type.t())
        return F.relu(self.bn(y.flatten(0, 1)), inplace=True).unflatten(0, x.shape[:2])


class FrameLevel(nn.Module):
    """Two temporal convolutions and a max over the frames (section 3.3): (b, t, dim_in) -> (b, dim_out)."""

    def __init__(self, dim_in, dim_out):
        super().__init__()
        self.cnn1 = nn.Conv2d(dim_in, dim_in, (1, 3), padding=(0, 1))
        self.bn1 = nn.BatchNorm1d(dim_in)
        self.dropout = nn.Dropout1d(0.2)
        self.cnn2 = nn.Conv2d(dim_in, dim_out, 1)
        self.bn2 = nn.BatchNorm1d(dim_out)

    def forward(self, x):
        x = x.transpose(1, 2)  # (b, dim_in, t)
        x = F.conv1d(x, self.cnn1.weight.squeeze(2), self.cnn1.bias, padding=1)
        x = self.dropout(F.relu(self.bn1(x)))
        x = F.conv1d(x, self.cnn2.weight.squeeze(2), self.cnn2.bias)
        return F.relu(self.bn2(x)).amax(dim=-1)


def load_checkpoint(path):
    """A network and the checkpoint it was made from; classes, joints and segments are read off the weights' shapes.

    path: a checkpoint of this project or of the authors' release. Returns (SGN on the CPU, dict). Nothing in the file
    is run: it is read with weights_only. Raises OSError, or ValueError that says what is wrong with it.
    """
    checkpoint = load_safely(path)
    try:
        weights = checkpoint["state_dict"]
        shapes = {"" + name: tuple(value.shape) for name, value in weights.items()}
        sizes = [shapes["fc.weight"][0], *(shapes[f"{name}_embed.cnn.0.cnn.weight"][1] for name in ("spa", "tem"))]
        if not (min(sizes) and all(_plain(value, os.path.getsize(path)) for value in weights.values())):
            raise TypeError(
                "nothing to put out or in, or tensors that the file cannot hold or are not of plain numbers"
            )
        net = SGN(*sizes)
    except (KeyError, TypeError, AttributeError, IndexError):
        raise ValueError(f"{path}: a checkpoint of another network, not of SGN") from None
    expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    differing = sorted(name for name in expected.keys() | shapes.keys() if expected.get(name) != shapes.get(name))
    if differing:
        name = differing[0]
        raise ValueError(
            f"{path}: a checkpoint of another network: {name} is {shapes.get(name, 'missing')}, "
            f"in SGN {expected.get(name, 'there is none')} ({len(differing)} such differences)"
        )
    net.load_state_dict(weights)
    for name, value in net.state_dict().items():
        if not value.isfinite().all():
            raise ValueError(f"{path}: {name} holds values that are not finite")
        if name.endswith("running_var") and (value < 0).any():
            raise ValueError(f"{path}: {name} holds a variance below 0")
    for name, kind in (
        ("epoch", int),
        ("seed", int),
        ("select", str),
        ("about", dict),
    ):  # those of the release lack some
        value = checkpoint.get(name, kind())
        if not isinstance(value, kind) or name == "seed" and not 0 <= value < 2**32:
            raise ValueError(f"{path}: a damaged checkpoint, whose {name} is {str(value)[:60]!r}")
    return net, checkpoint


def _plain(value, most):
    """Whether a tensor holds numbers that a network can take, of `most` bytes at most: an expanded one may say more."""
    kinds = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)
    plain = value.layout == torch.strided and value.is_cpu and value.dtype in kinds
    return plain and value.numel() * value.element_size() <= most


def load_safely(path):
    """torch.load on the CPU, of weights and plain values only; anything else is refused with a ValueError, not run."""
    # The release keeps its best accuracy as a NumPy scalar. NumPy's types believe what a file says of their make-up:
    # others stand in for them
    stand_in = [(_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(part.file_size for part in archive.infolist()) > os.path.getsize(path):
                    raise ValueError("it is smaller than what it says is in it")
        with torch.serialization.safe_globals([*stand_in, (_Dtype, "numpy.dtype")]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch, on what a damaged file makes of its unpickler
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can make a reader raise anything
        if isinstance(error, OSError) and error.filename:
            raise
        why = next(iter(str(error).splitlines()), "it is empty")
        if found := re.search(r"Unsupported global: GLOBAL (\S+)", str(error)):
            why = f"it would run {found[1]}"
        raise ValueError(f"{path}: not a checkpoint that can be read safely ({why})") from None


class _Dtype:
    """In the place of numpy.dtype in a checkpoint: the type of a scalar, and nothing else."""

    def __init__(self, code, *_):
        self.type = {"f4": np.float32, "f8": np.float64}[code]

    def __setstate__(self, state):
        """What the file says of byte order and fields is not taken."""


def _scalar(dtype, data):
    return float(np.frombuffer(data, dtype.type)[0])
