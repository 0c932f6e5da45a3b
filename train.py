"""Training and testing: the loss, a step, an epoch, the test, and a run from its start to its results."""

import sys

import numpy as np
import torch
from torch.nn import functional as F

from data import augment
from engine.checkpoint import check_size, load_checkpoint
from engine.device import CPU_BATCH, try_compile
from engine.logs import Progress, accuracy, score
from engine.runs import RunState, prepare, read_clips
from safe.program import note
from util import UserError, atomic_write, derive_seed

ADVICE = "Earlier epochs are kept. Check the data (tools/check_h5.py), --lr and --theta"
EVAL_BATCH = 256  # clips that a GPU tests at a time


def criterion(logits, label, weights=None):
    """Cross entropy against 0.9 for the true class and 0.1 / (classes - 1) for each other, mean over the batch.

    PyTorch's label smoothing s spreads s / classes over all classes, the true one included: the same with this s.
    weights: (classes,), by which the clips of a class count, as from `balance`.
    """
    smoothing = 0.1 * logits.shape[1] / (logits.shape[1] - 1)
    if weights is None:
        return F.cross_entropy(logits, label, label_smoothing=smoothing)
    return (weights[label] * F.cross_entropy(logits, label, label_smoothing=smoothing, reduction="none")).mean()


def balance(label, classes):
    """Weights by which all classes count alike: inverse frequency, 1 on average over the labels. (classes,) float32."""
    count = label.bincount(minlength=classes)
    return len(label) / ((count > 0).sum() * count.clamp(min=1))


def make_optimizer(net, lr, weight_decay):
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if trained[0].is_cuda:  # a CUDA graph reads the rate where it was captured: set_learning_rate
        lr = torch.tensor(lr, device=trained[0].device)
    return torch.optim.Adam(trained, lr=lr, weight_decay=weight_decay, fused=True)


def set_learning_rate(optimizer, lr):
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


class Trainer:
    """A network in training.

    config: a Config that is complete. init: the Checkpoint that it starts from, if any, which fits the data. Raises
    UserError for settings that cannot work.
    """

    def __init__(self, config, clips, init=None, print_freq=10):
        self.config, self.clips, self.print_freq = config, clips, print_freq
        self.device = clips.frames.device
        self.train_ids = clips.ids("train") if config.select == "val" else clips.ids("train", "valid")
        self.eval_ids = clips.ids("valid" if config.select == "val" else "test")
        self.check()
        self.flip_pairs = clips.flip_pairs() if config.recipe.flip else None
        torch.manual_seed(config.seed)  # initial weights
        self.net = config.make_network(clips)
        if init:
            from engine.finetune import start_from

            start_from(init, self.net, clips, config.freeze)
        self.net.to(self.device)
        self.optimizer = make_optimizer(self.net, config.lr, config.weight_decay)
        self.rng = torch.Generator(self.device)
        self.weights = balance(clips.label[self.train_ids], config.num_classes) if config.class_weights else None

    def check(self):
        batch_size, n, select = self.config.batch_size, len(self.train_ids), self.config.select
        if n < batch_size:
            raise UserError(f"--batch-size {batch_size}: only {n} training clips; take at most that many")
        if not len(self.eval_ids):
            raise UserError(f"--select {select}: no clips for it; take another --select")
        check_size(self.config.seg, self.clips.joints)

    def train(self, state, progress):
        """Trains from where the RunState is to the last epoch, and saves each. Raises UserError if it diverges."""
        config = self.config
        step = self.make_step()
        for epoch in range(len(state.log) + 1, config.epochs + 1):
            lr = config.recipe.learning_rate(config.lr, config.lr_factor, epoch, config.epochs)
            set_learning_rate(self.optimizer, lr)
            train_loss, train_acc = self.train_epoch(step, epoch, progress)
            eval_loss, eval_acc = self.evaluate(epoch)
            state.add_epoch(self.net, self.optimizer, train_loss, train_acc, eval_loss, eval_acc, lr)
            progress.end_epoch(state)

    def train_epoch(self, step, epoch, progress):
        """One epoch over shuffled clips, without the last incomplete batch. Returns its mean loss, and top-1 in %."""
        config, ids = self.config, self.train_ids
        self.rng.manual_seed(derive_seed(config.seed, epoch))
        torch.manual_seed(derive_seed(config.seed, epoch, 1))  # dropout
        self.net.train(not config.freeze)
        shuffled = ids[torch.randperm(len(ids), generator=self.rng, device=ids.device)]
        steps = len(ids) // config.batch_size
        batches = shuffled[: steps * config.batch_size].split(config.batch_size)
        # On the device, which is waited for every print_freq steps, not at every step
        losses, correct = torch.zeros(2, steps, device=ids.device)
        for i, batch in enumerate(batches):
            losses[i], correct[i] = step(batch)
            if (i + 1) % self.print_freq == 0 or i + 1 == steps:
                loss, acc = self.mean(losses[: i + 1], correct[: i + 1], epoch)
                progress.show(epoch, loss, acc)
            progress.step()
        return loss, acc

    @property
    def wants_graph(self):
        """Whether a step is tried as a CUDA graph, which equals it and is faster."""
        return self.device.type == "cuda" and not self.config.compile

    def make_step(self):
        """The function that takes a step: train_step, or a graph of it."""
        self.net.train(not self.config.freeze)
        if self.config.compile:
            example = self.clips.sample(self.train_ids[: self.config.batch_size], self.rng, self.config.seg)
            try_compile(self.net, example, self.config.amp)
        if self.wants_graph:
            from engine.graphed import graph_step

            return graph_step(self) or self.train_step
        return self.train_step

    def train_step(self, batch):
        """One step on the clips `batch`. Returns its loss, and how many of the clips are correct."""
        config, recipe = self.config, self.config.recipe
        x = self.clips.sample(batch, self.rng, config.seg, recipe.whole_clip, recipe.crop)
        x = augment(x, recipe, config.theta, self.rng, self.flip_pairs, self.clips.spatial)
        label = self.clips.label[batch]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.amp):
            logits = self.net(x)
        loss = criterion(logits.float(), label, self.weights)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), (logits.argmax(dim=1) == label).sum()

    def mean(self, losses, correct, epoch):
        """Loss, and top-1 in percent, over these steps. Raises UserError if it is not finite."""
        losses, correct = torch.stack([losses, correct]).cpu()
        if not losses.isfinite().all():
            i = losses.isfinite().int().argmin().item()
            raise UserError(f"epoch {epoch}, step {i + 1}: the loss is {losses[i].item()}. {ADVICE}")
        return losses.mean().item(), 100 * (correct / self.config.batch_size).mean().item()

    def evaluate(self, epoch):
        """Loss and top-1 in percent on the clips by which an epoch is selected: one sample, the same in all epochs."""
        config, label = self.config, self.clips.label[self.eval_ids]
        seed = derive_seed(config.seed)
        logits = predict_logits(self.net, self.clips, self.eval_ids, config.recipe, seed, 1, config.amp)
        finite = [value.isfinite().all() for value in (logits, *self.net.state_dict().values())]
        if not torch.stack(finite).all():
            raise UserError(f"epoch {epoch}: weights or logits are not finite. {ADVICE}")
        return criterion(logits, label).item(), accuracy(logits, label)


# ---- testing


@torch.inference_mode()
def predict_logits(net, clips, ids, recipe, seed, samples=None, amp=False):
    """Logits of clips, averaged over samples of each, by default as many as the recipe says: (n, classes) float32.

    The network itself is scored, as model.py has it, in evaluation mode and uncompiled. The same seed samples the same
    frames. amp: products in bfloat16.
    """
    net.eval()
    rng = torch.Generator(ids.device).manual_seed(seed)
    samples = samples or recipe.test_samples
    frames = [clips.sample_frames(ids, rng, net.seg, recipe.whole_clip) for _ in range(samples)]
    logits = torch.zeros(len(ids), net.num_classes, device=ids.device)
    step = CPU_BATCH if ids.device.type == "cpu" else EVAL_BATCH
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=amp):
        for i in range(0, len(ids), step):
            batch = slice(i, i + step)
            of_samples = [net.forward(clips.gather(ids[batch], chosen[batch])).float() for chosen in frames]
            logits[batch] = torch.stack(of_samples).mean(dim=0)
    return logits


def test_checkpoint(checkpoint, clips, seed=None, amp=False):
    """Tests a Checkpoint on the test clips, those of its random split if it has one: logits (n, classes), labels (n,).

    seed: of the samples, by default the checkpoint's. A line says what of its data differs from these. Raises
    UserError, which names the clip, if a logit is not finite.
    """
    for difference in checkpoint.differences(clips):
        note(f"{checkpoint.path} {difference}")
    clips = clips.resplit(checkpoint.split)
    ids, net = clips.ids("test"), checkpoint.net.to(clips.label.device)
    seed = checkpoint.seed if seed is None else seed
    logits = predict_logits(net, clips, ids, checkpoint.recipe, seed, amp=amp)
    if not (finite := logits.isfinite().all(dim=1)).all():
        clip = finite.int().argmin().item()
        raise UserError(f"{checkpoint.path}: the logits of test clip {clip} are not finite; see tools/check_h5.py")
    return logits, clips.label[ids]


def test_and_write(path, config, clips, folder, seed=None):
    """Tests the checkpoint in `path`, which must fit the Config and the clips, and writes labels and logits to folder.

    Returns (the Checkpoint, what engine.logs.score says of it). Raises UserError if it does not fit.
    """
    checkpoint = load_checkpoint(path)
    checkpoint.check_fits(clips, config)
    logits, label = test_checkpoint(checkpoint, clips, seed, config.amp)
    write_predictions(folder, config.case, label, logits)
    return checkpoint, score(logits, label, clips.class_names)


def write_predictions(folder, case, label, logits):
    """Writes labels (n,) and logits (n, classes), or scores, to <case>_lable.txt and <case>_pred.txt."""
    for suffix, values, form in (("lable", label, "%d"), ("pred", logits, "%f")):
        with atomic_write(folder / f"{case}_{suffix}.txt") as part:
            np.savetxt(part, values.cpu().numpy(), fmt=form)


# ---- a run


def train_and_test(run, options, position=None):
    """A run (engine.runs.Run) from its start, or from where it was stopped, to its results.

    Returns the results, a dict, and the lines that say them. position: the line of its progress bar, of several.
    """
    config, folder = run.config, run.folder
    prepare(config)
    clips = read_clips(run.h5, options.device)
    if clips.sha256 != run.data_sha256:
        raise UserError(f"{run.h5}: it has been replaced since this command started; start it again")
    clips = clips.resplit(config.split)
    trainer = Trainer(config, clips, run.init, options.print_freq)
    state = RunState(config, clips, folder, run.command or options.command)
    if not (options.resume and state.resume(trainer.net, trainer.optimizer)):
        state.start_anew()
    best = state.file("best.pth")
    if not state.results:
        try:
            steps = len(trainer.train_ids) // config.batch_size
            with Progress(state, steps, run.title, position, options.tensorboard, sys.stderr) as progress:
                trainer.train(state, progress)
            checkpoint, scores = test_and_write(best, config, clips, folder)
            last = scores
            if checkpoint.epoch != config.epochs:
                ids = clips.ids("test")
                logits = predict_logits(trainer.net, clips, ids, config.recipe, config.seed, amp=config.amp)
                last = score(logits, clips.label[ids], clips.class_names)
            last = {f"last_{key}": value for key, value in last.items() if key != "classes"}
            results = {"epoch": checkpoint.epoch, "selected": checkpoint.selected, **scores, **last}
            state.finish(trainer.net, trainer.optimizer, results)
        except KeyboardInterrupt as interrupt:
            done = f"{len(state.log)} of {config.epochs} epochs are in {folder}"
            raise type(interrupt)(f"{done}; the same command with --resume continues") from None
    return state.results | {"seed": config.seed, "checkpoint": str(best)}, state.summary()
