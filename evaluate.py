"""Testing: the logits of clips, top-1, and the test of a checkpoint."""

import sys
from dataclasses import replace

import numpy as np
import torch

import ranks
import util
from checkpoint import load_checkpoint
from folded import Folded
from recipes import recipe_of, spelling
from util import UserError, replacing

EVAL_BATCH = 256  # clips; the figure does not depend on it
SELECT = {
    "test": "best epoch by one draw on the test set",
    "val": "best epoch by one draw on the held-out 5%",
    "last": "last epoch",
}


@torch.inference_mode()
def predict(net, clips, ids, draws, generator, amp=False):
    """Logits of clips, averaged over `draws` independent draws of each: (n, classes) float32. No clip is left out.

    Each of several processes takes a share of the clips, and all get the whole. amp: products in bfloat16.
    """
    # Folded is of the whole network alone. A compiled module would be compiled again here; its forward is plain
    form = net.eval().forward if net.ablate else Folded(net, amp)
    drawn = [clips.draw_frames(ids, generator, net.seg) for _ in range(draws)]
    logits = torch.zeros(len(ids), net.num_classes, device=ids.device)
    mine = ranks.share(len(ids))
    for i in range(mine.start, mine.stop, EVAL_BATCH):
        batch = slice(i, min(i + EVAL_BATCH, mine.stop))
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=amp and bool(net.ablate)):
            of_draws = [form(clips.gather(ids[batch], frames[batch])) for frames in drawn]
        logits[batch] = torch.stack(of_draws).float().mean(dim=0)
    return ranks.total(logits)


def accuracy(logits, label):
    """Top-1 in percent."""
    return 100 * (logits.argmax(dim=1) == label).sum().item() / len(label)


def test(net, clips, ids, seed, amp=False):
    """As many draws a clip as its recipe tests with, their logits averaged: (n, classes).

    The same seed draws the same frames.
    """
    generator = torch.Generator(clips.frames.device).manual_seed(seed)
    return predict(net, clips, ids, clips.recipe.test_draws, generator, amp)


def must_fit(path, net, joints, classes):
    """Raises UserError if the network of a checkpoint is for data of another shape."""
    if (net.num_joint, net.num_classes) != (joints, classes):
        made_for = f"{net.num_joint} joints and {net.num_classes} classes"
        raise UserError(f"{path}: made for {made_for}, the data has {joints} and {classes}")


def as_trained(path, clips, checkpoint):
    """The clips as a checkpoint was trained on them: drawn by its recipe, and parted by its random split if it had one.

    In another split, clips that it was trained on would be among those that test. Raises UserError.
    """
    clips = replace(clips, recipe=recipe_of(path, checkpoint))
    number = str(checkpoint.get("about", {}).get("split"))
    return clips.resplit(int(number)) if number.isdecimal() and len(number) < 9 else clips


def test_checkpoint(args, clips, folder):
    """Tests <case>_best.pth, writes labels and logits, and returns the line that says what came of it, and top-1."""
    path, classes = folder / f"{args.case}_best.pth", args.num_classes or len(clips.class_names)
    net, checkpoint = ranks.from_first(lambda: util.opened(load_checkpoint, path))
    must_fit(path, net, clips.joints, classes)
    if net.ablate != (args.ablate or ()):
        made = f"with --ablate {','.join(net.ablate)}" if net.ablate else "without --ablate"
        raise UserError(f"{path}: made {made}; test it so, and in that run's folder")
    if (recipe := recipe_of(path, checkpoint)) != args.recipe:
        raise UserError(f"{path}: made with --recipe {spelling(recipe)}; test it so, and in that run's folder")
    if args.seg not in (None, net.seg):
        raise UserError(f"--seg {args.seg}: {path} was made with {net.seg}")
    split = checkpoint.get("about", {}).get("split")
    if args.split is not None and split not in (None, str(args.split)):
        raise UserError(f"{path}: of split {split}, not of split {args.split}; it belongs in another folder")
    clips = as_trained(path, clips, checkpoint)
    ids = clips.ids("test_")
    label = clips.label[ids]
    if checkpoint.get("about", {}).get("data_sha256", clips.sha256) != clips.sha256:
        ranks.say(f"note: {path} was trained on another h5 than this one", file=sys.stderr)
    seed = checkpoint.get("seed", 1) if args.seed is None else args.seed
    logits = test(net.to(ids.device), clips, ids, seed, args.amp)

    def write():
        for suffix, values, form in (("lable", label, "%d"), ("pred", logits, "%f")):
            with replacing(folder / f"{args.case}_{suffix}.txt") as part:
                np.savetxt(part, values.cpu().numpy(), fmt=form)

    ranks.from_first(write)
    top1 = accuracy(logits, label)
    how = SELECT.get(checkpoint.get("select"), "chosen by its makers")
    line = f"epoch {checkpoint.get('epoch', '?')} ({how}): top-1 {top1:.2f}%"
    return f"{line}, {clips.recipe.test_draws} draws of each of the {len(ids)} test clips", top1
