"""For torch.hub: SGN from this folder, or from a repository with its files.

    net = torch.hub.load("path/to/this/folder", "sgn", source="local", dataset="NUCLA")
    logits = net(clips)                                        # (batch, 20, 60), metres -> (batch, 10)

A program with modules of its own called model, data or util copies model.py under another name instead.
"""

dependencies = ["torch", "numpy", "h5py", "tqdm"]


def sgn(checkpoint=None, dataset=None, case=0, num_classes=60, num_joint=25, seg=20, folded=False):
    """SGN on the CPU: takes (batch, seg, 3 * num_joint) in metres, returns logits (batch, num_classes).

    checkpoint: path of a checkpoint, ours or the release's. dataset, case: or the one of results/ or pretrained/. With
    either, the network has its weights and is in evaluation mode; otherwise it has new weights for num_classes,
    num_joint and seg, and is in training mode. folded: the form for inference, inference.Folded, of a checkpoint.
    Raises ValueError for a checkpoint that is missing, damaged or not SGN's.
    """
    from checkpoint import find_checkpoint, load_checkpoint
    from inference import Folded
    from model import SGN
    from util import ROOT

    if dataset is not None:
        checkpoint = find_checkpoint(ROOT / "results", dataset, "SGN", case)
    if checkpoint is None:
        return SGN(num_classes, num_joint, seg)
    net = load_checkpoint(checkpoint).net
    return Folded(net).eval() if folded else net
