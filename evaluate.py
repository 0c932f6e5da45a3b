"""Testing: logits of clips, top-1, and the test of a checkpoint."""

import numpy as np
import torch

import distributed
from checkpoint import load_checkpoint
from util import UserError, atomic_write

# Clips that are computed at a time; on a CPU what is between two layers then fits into its caches
EVAL_BATCH, CPU_BATCH = 256, 8


@torch.inference_mode()
def predict_logits(net, clips, ids, generator, samples=1, whole_clip=False, amp=False):
    """Logits of clips, averaged over `samples` samples of each: (n, classes) float32.

    The network itself is scored, as model.py has it, in evaluation mode and uncompiled. Several processes share the
    clips, and all get all logits. amp: products in bfloat16.
    """
    net.eval()
    frames = [clips.sample_frames(ids, generator, net.seg, whole_clip) for _ in range(samples)]
    logits = torch.zeros(len(ids), net.num_classes, device=ids.device)
    mine, step = distributed.shard(len(ids)), CPU_BATCH if ids.device.type == "cpu" else EVAL_BATCH
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=amp):
        for i in range(mine.start, mine.stop, step):
            batch = slice(i, min(i + step, mine.stop))
            of_samples = [net.forward(clips.gather(ids[batch], chosen[batch])).float() for chosen in frames]
            logits[batch] = torch.stack(of_samples).mean(dim=0)
    return distributed.all_reduce_sum(logits)


def test_logits(net, clips, ids, recipe, seed, amp=False):
    """`predict_logits` with the samples that a recipe tests. The same seed samples the same frames."""
    generator = torch.Generator(ids.device).manual_seed(seed)
    return predict_logits(net, clips, ids, generator, recipe.test_samples, recipe.whole_clip, amp)


test_logits.__test__ = False  # for pytest: no test


def accuracy(logits, label):
    """Top-1 in percent."""
    return 100 * (logits.argmax(dim=1) == label).sum().item() / len(label)


def evaluate(checkpoint, clips, seed=None, amp=False):
    """Tests a checkpoint on the test clips: logits (n, classes) and labels (n,).

    A checkpoint of a random split is tested on that split. seed: of the samples, by default the checkpoint's. A line
    says what of its data differs from these. Raises UserError, which names the clip, if a logit is not finite.
    """
    for difference in checkpoint.differences(clips):
        distributed.warn_once(f"{checkpoint.path} {difference}")
    clips = clips.resplit(checkpoint.split)
    ids = clips.ids("test")
    seed = checkpoint.seed if seed is None else seed
    logits = test_logits(checkpoint.net.to(ids.device), clips, ids, checkpoint.recipe, seed, amp)
    if not (finite := logits.isfinite().all(dim=1)).all():
        clip = finite.int().argmin().item()
        raise UserError(f"{checkpoint.path}: the logits of test clip {clip} are not finite; see tools/check_h5.py")
    return logits, clips.label[ids]


def evaluate_and_write(path, config, clips, folder, seed=None):
    """Tests the checkpoint in `path`, which must fit the run's Config and clips, and writes labels and logits.

    Writes <case>_lable.txt and <case>_pred.txt to folder. seed: as in `evaluate`. Returns (the Checkpoint, its top-1
    in percent). Raises UserError if the checkpoint does not fit.
    """
    checkpoint = distributed.run_on_main(lambda: load_checkpoint(path))
    checkpoint.check_fits(clips.joints, config.num_classes or len(clips.class_names), clips.skeleton)
    checkpoint.check_network(config)
    if checkpoint.recipe != config.recipe:
        raise UserError(f"{path}: trained with --recipe {checkpoint.recipe.name}; test it with the same")
    if config.split is not None and checkpoint.split not in (None, config.split):
        raise UserError(f"{path}: trained on split {checkpoint.split}, not on split {config.split}")
    logits, label = evaluate(checkpoint, clips, seed, config.amp)
    distributed.run_on_main(lambda: write_predictions(folder, config.case, label, logits))
    return checkpoint, accuracy(logits, label)


def write_predictions(folder, case, label, logits):
    """Writes labels (n,) and logits (n, classes), or scores, to <case>_lable.txt and <case>_pred.txt."""
    for suffix, values, form in (("lable", label, "%d"), ("pred", logits, "%f")):
        with atomic_write(folder / f"{case}_{suffix}.txt") as part:
            np.savetxt(part, values.cpu().numpy(), fmt=form)
