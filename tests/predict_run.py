"""Networks of random weights, and tools/predict.py in this process."""

import io

import torch

import predict
from model import SGN


def save(path, classes=60, joints=25, seg=20, **content):
    """A checkpoint with random weights, in the graph convolutions too. content: more of it, such as its skeleton."""
    torch.manual_seed(0)
    net = SGN(classes, joints, seg).eval()
    for gcn in (net.gcn1, net.gcn2, net.gcn3):
        torch.nn.init.normal_(gcn.w.cnn.weight, std=0.1)
    torch.save({"state_dict": net.state_dict(), "seg": seg} | content, path)
    return path


def as_lines(clip, form=" "):
    """A clip as lines of standard input, a frame each, its numbers apart by `form`."""
    return [form.join(f"{value:.9g}" for value in frame.ravel()).encode() for frame in clip]


def run(capsys, *command, lines=None):
    """(exit code, lines of output, lines of errors). lines: of standard input, bytes."""
    file = None if lines is None else io.BytesIO(b"".join(line + b"\r\n" for line in lines))
    threads = torch.get_num_threads()
    try:
        code = predict.main([str(word) for word in command], file)
    finally:
        torch.set_num_threads(threads)
    return code, *(text.splitlines() for text in capsys.readouterr())
