"""The release's way of computing, for comparison: its network in float32.

Channels first, 1x1 convolutions, one-hot inputs repeated for every clip, permutations before each graph product. The
logits are those of the same weights in model.SGN.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Release(nn.Module):
    """SGN as the release computes it, on (batch, channels, joints, frames), with the weights of `net`.

    Takes and returns what SGN does, for one batch size.
    """

    def __init__(self, net, batch):
        super().__init__()
        self.net, weight = net, net.fc.weight
        joints, frames = (torch.eye(n, device=weight.device) for n in (net.num_joint, net.seg))
        self.register_buffer("spa", joints[None, :, :, None].repeat(batch, 1, 1, net.seg))
        self.register_buffer("tem", frames[None, :, None, :].repeat(batch, 1, net.num_joint, 1))

    def embed(self, embed, x):
        for layer in embed.cnn:
            if hasattr(layer, "bn"):
                x = layer.bn(x.flatten(1, 2)).view_as(x)
            else:
                x = layer.cnn(x) if hasattr(layer, "cnn") else layer(x)
        return x

    def forward(self, x):
        net, (b, t, _) = self.net, x.shape
        x = x.view(b, t, -1, 3).permute(0, 3, 2, 1).contiguous()
        velocity = torch.cat([torch.zeros_like(x[..., :1]), x[..., 1:] - x[..., :-1]], dim=-1)
        x = self.embed(net.joint_embed, x) + self.embed(net.dif_embed, velocity)
        x = torch.cat([x, self.embed(net.spa_embed, self.spa)], dim=1)
        theta = net.compute_g1.g1.cnn(x).permute(0, 3, 2, 1).contiguous()
        g = theta.matmul(net.compute_g1.g2.cnn(x).permute(0, 3, 1, 2).contiguous()).softmax(dim=-1)
        for gcn in (net.gcn1, net.gcn2, net.gcn3):
            y = g.matmul(x.permute(0, 3, 2, 1).contiguous()).permute(0, 3, 2, 1).contiguous()
            y = gcn.w.cnn(y) + gcn.w1.cnn(x)
            x = F.relu(gcn.bn(y.flatten(2)).view_as(y))
        x = F.adaptive_max_pool2d(x + self.embed(net.tem_embed, self.tem), (1, t))
        x = F.relu(net.cnn.bn1(net.cnn.cnn1(x).squeeze(2)))
        x = net.cnn.dropout(x).unsqueeze(2)
        x = F.relu(net.cnn.bn2(net.cnn.cnn2(x).squeeze(2)))
        return net.fc(x.amax(dim=-1))
