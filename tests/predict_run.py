"""What the tests of recordings and of streams share: networks of random weights, and the command line."""

import sys

import torch

from data import ROOT
from model import SGN

sys.path.append(str(ROOT / "tools"))
import predict  # noqa: E402


def save(path, classes=60, joints=25, seg=20, about=None):
    """A network of random weights, whose graph layers do something too, in a checkpoint."""
    torch.manual_seed(0)
    net = SGN(classes, joints, seg).eval()
    for gcn in (net.gcn1, net.gcn2, net.gcn3):
        torch.nn.init.normal_(gcn.w.cnn.weight, std=0.1)
    torch.save({"state_dict": net.state_dict()} | ({"about": about} if about else {}), path)
    return path


def run(capsys, *command, stream=None):
    threads = torch.get_num_threads()
    try:
        code = predict.main([str(word) for word in command], stream)
    finally:
        torch.set_num_threads(threads)
    return code, *(text.splitlines() for text in capsys.readouterr())
