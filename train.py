"""Training: the loop over epochs and steps. run_state.py keeps a run on the disk."""

import importlib.util
import sys
import time
from contextlib import nullcontext

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

import util
from engine import distributed, finetune, graphed
from engine.checkpoint import check_size, load_checkpoint
from engine.runs import prepare, read_clips
from engine.state import RunState
from model import SGN
from util import UserError, atomic_write, derive_seed, print_above_bars, progress

ADVICE = "Earlier epochs are kept. Check the data (tools/check_h5.py), --lr and --theta"


def criterion(logits, label):
    """Cross entropy against 0.9 for the true class and 0.1 / (classes - 1) for each other, mean over the batch.

    PyTorch's label smoothing s spreads s / classes over all classes, the true one included: the same with this s.
    """
    classes = logits.shape[1]
    return F.cross_entropy(logits, label, label_smoothing=0.1 * classes / (classes - 1))


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


class Trainer(RunState):
    """Trains a network.

    config: a Config in which theta (unless the recipe has its own rotation), seg and num_classes are set.
    init: the Checkpoint that it starts from, if any, which fits the data (finetune.read_init).
    """

    def __init__(self, config, clips, folder, command="", print_freq=10, tensorboard=False, init=None):
        super().__init__(config, clips, folder, command)
        self.print_freq = print_freq
        self.train_ids = clips.ids("train") if config.select == "val" else clips.ids("train", "valid")
        self.eval_ids = clips.ids(self.eval_split)
        self.check(tensorboard)
        self.tensorboard = tensorboard and distributed.is_main_process()
        self.flip_pairs = clips.flip_pairs() if config.recipe.flip else None
        torch.manual_seed(config.seed)  # initial weights
        edges = clips.bones() if "skeleton-graph" in config.ablate else None
        stream = clips.stream(config.stream)
        self.net = SGN(config.num_classes, clips.joints, config.seg, config.ablate, edges, stream)
        if init:
            finetune.copy_weights(self.net, init, clips.class_names)
        if config.freeze:
            finetune.freeze(self.net)
        self.net.to(self.device)
        self.optimizer = make_optimizer(self.net, config.lr, config.weight_decay)
        self.generator = torch.Generator(self.device)
        self.graphed = None  # the training step as a CUDA graph
        self.bar = {"unit": "step"}  # further arguments of the progress bar

    def check(self, tensorboard):
        """Raises UserError for settings that cannot work."""
        batch_size, n = self.config.batch_size, len(self.train_ids)
        if n < batch_size:
            raise UserError(f"--batch-size {batch_size}: only {n} training clips; take at most that many")
        check_size(self.config.seg, self.clips.joints)
        if batch_size < distributed.world_size():
            raise UserError(f"--batch-size {batch_size}: too few for {distributed.world_size()} processes")
        if tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise UserError("--tensorboard: not installed; pip install -r requirements-extra.txt")
        if not len(self.eval_ids):
            raise UserError(f"--select {self.config.select}: no clips in {self.eval_split}_x; take another --select")

    def train(self):
        """Trains to the last epoch. After every epoch: a row of the log, the state, and perhaps <case>_best.pth.

        The main process says on standard error how it goes (`report`).
        """
        config = self.config
        forward = self.wrapped_net()
        if len(self.log) < config.epochs and graphed.is_wanted(self, forward):
            self.net.train(not config.freeze)
            self.graphed = graphed.graph_step(self, forward)
        eval_generator, whole_clip = torch.Generator(self.device), config.recipe.whole_clip
        steps, done = len(self.train_ids) // config.batch_size, len(self.log)
        quiet = not distributed.is_main_process()
        bar = progress(total=config.epochs * steps, initial=done * steps, smoothing=0.05, disable=quiet, **self.bar)
        times = [time.perf_counter()]  # when training began, and when each epoch ended
        with bar, self.open_tensorboard() as writer:
            for epoch in range(done + 1, config.epochs + 1):
                lr = config.recipe.learning_rate(config.lr, config.lr_factor, epoch, config.epochs)
                set_learning_rate(self.optimizer, lr)
                train_loss, train_acc = self.train_epoch(forward, epoch, bar)
                distributed.broadcast(self.net.buffers())
                eval_generator.manual_seed(derive_seed(config.seed))  # the same frames after every epoch
                logits = predict_logits(self.net, self.clips, self.eval_ids, eval_generator, 1, whole_clip, config.amp)
                finite = torch.stack([value.isfinite().all() for value in (logits, *self.net.state_dict().values())])
                if not finite.all():
                    raise UserError(f"epoch {epoch}: weights or logits are not finite. {ADVICE}")
                label = self.clips.label[self.eval_ids]
                loss, acc = criterion(logits, label).item(), accuracy(logits, label)
                self.log.append(self.row(epoch, train_loss, train_acc, loss, acc, lr))
                distributed.run_on_main(lambda loss=loss, acc=acc: self.save_epoch(loss, acc))
                times.append(time.perf_counter())
                if not quiet and (bar.disable or epoch % max(1, config.epochs // 10) == 0):
                    self.report(times)
                if writer:
                    for name, value in self.log[-1].items():
                        writer.add_scalar(name, value, epoch)
                    writer.flush()

    def report(self, times):
        """A line on standard error: the last row of the log, the epoch's seconds, the best so far, and the time left.

        Every tenth of the run above the progress bar; every epoch where there is none. times: s, as in `train`.
        """
        row, epochs, run = self.log[-1], self.config.epochs, self.bar.get("desc")
        what, choose = ("loss", min) if self.config.monitor == "val_loss" else ("acc", max)
        key = f"{self.eval_split}_{what}"
        best = choose(self.log, key=lambda row: row[key])
        left = (times[-1] - times[0]) / (len(times) - 1) * (epochs - row["epoch"])
        line = [f"{name} {value:.4g}" for name, value in row.items() if name != "epoch"]
        line += [f"{times[-1] - times[-2]:.1f} s", f"best {key} {best[key]:.4g} in epoch {best['epoch']}"]
        line.append(f"{tqdm.format_interval(left)} left")
        print_above_bars(f"{f'{run} ' if run else ''}epoch {row['epoch']}/{epochs}: {', '.join(line)}", sys.stderr)

    def open_tensorboard(self):
        """A writer to <case>_tensorboard/ that removes what an earlier run wrote for the epochs to come, or None."""
        if not self.tensorboard:
            return nullcontext()
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.file("tensorboard"), purge_step=len(self.log) + 1)

    def wrapped_net(self):
        """The network for training: compiled with --compile, distributed over the processes if there are several."""
        if distributed.world_size() > 1 and self.device.type == "cuda":  # PyTorch has no SyncBatchNorm on CPUs
            self.net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.net)
        if self.config.compile:
            self.net.train(not self.config.freeze)
            ids = self.train_ids[distributed.shard(self.config.batch_size)]
            try_compile(self.net, self.clips.sample(ids, self.generator, self.config.seg), self.config.amp)
        return DistributedDataParallel(self.net) if distributed.world_size() > 1 else self.net

    def train_epoch(self, forward, epoch, bar):
        """One epoch over shuffled clips, without the last incomplete batch. Returns its mean loss, and top-1 in %."""
        config, ids = self.config, self.train_ids
        self.generator.manual_seed(derive_seed(config.seed, epoch))
        torch.manual_seed(derive_seed(config.seed, epoch, 1 + distributed.rank()))  # dropout
        self.net.train(not config.freeze)
        shuffled = ids[torch.randperm(len(ids), generator=self.generator, device=ids.device)]
        steps = len(ids) // config.batch_size
        batches = shuffled[: steps * config.batch_size].split(config.batch_size)
        # On the device, which is waited for every print_freq steps, not at every step
        losses, correct = torch.zeros(2, steps, device=ids.device)
        for step, batch in enumerate(batches):
            losses[step], correct[step] = self.graphed(batch) if self.graphed else self.train_step(forward, batch)
            if (step + 1) % self.print_freq == 0 or step + 1 == steps:
                loss, acc = self.mean_loss(losses, correct, step + 1, epoch)
                bar.set_postfix(epoch=f"{epoch}/{config.epochs}", loss=f"{loss:.3f}", acc=f"{acc:.1f}")
            bar.update()
        return loss, acc

    def train_step(self, forward, batch):
        """One step on the clips `batch`. Returns this process's loss, and how many of its clips are correct."""
        config, recipe = self.config, self.config.recipe
        mine = distributed.shard(config.batch_size)
        # Every process samples the whole batch, so that it is the same however many share it
        x = self.clips.sample(batch, self.generator, config.seg, recipe.whole_clip, recipe.crop)
        x = recipe.augment(x, config.theta, self.generator, self.flip_pairs, self.clips.spatial)[mine]
        label = self.clips.label[batch[mine]]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.amp):
            logits = forward(x)
        # DistributedDataParallel averages gradients over the processes, whose shares may differ by a clip
        weight = (mine.stop - mine.start) * distributed.world_size() / config.batch_size
        loss = criterion(logits.float(), label) * weight
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), (logits.argmax(dim=1) == label).sum()

    def mean_loss(self, losses, correct, steps, epoch):
        """Loss and top-1 in percent over the epoch's steps so far and all processes. UserError if not finite."""
        losses, correct = distributed.all_reduce_sum(torch.stack([losses[:steps], correct[:steps]])).cpu()
        losses = losses / distributed.world_size()
        if not losses.isfinite().all():
            step = losses.isfinite().int().argmin().item()
            raise UserError(f"epoch {epoch}, step {step + 1}: the loss is {losses[step].item()}. {ADVICE}")
        return losses.mean().item(), 100 * (correct / self.config.batch_size).mean().item()


def try_compile(net, example, amp=False):
    """Compiles a network in place and tries a step in its present mode.

    If that fails, a line says so and the network is as before. On a CPU a line also says if it makes a step slower.
    """

    def step():
        start = time.perf_counter()
        with torch.autocast(example.device.type, torch.bfloat16, enabled=amp):
            logits = net(example)
        logits.float().sum().backward()
        return time.perf_counter() - start

    state = {name: value.clone() for name, value in net.state_dict().items()}
    plain = min(step() for _ in range(3))
    distributed.warn_once("compiling, which takes a minute or two")
    try:
        net.compile()
        step()
        compiled = min(step() for _ in range(2))
    except Exception as error:  # whatever a compiler may raise
        net._compiled_call_impl = None
        lines = [line for line in str(error).splitlines() if line.strip() and not line.endswith("raised:")]
        print(f"--compile: failed, continuing without ({lines[0] if lines else error})", file=sys.stderr)
    else:
        if example.device.type == "cpu" and compiled > plain:
            distributed.warn_once(f"--compile makes a step slower here: {compiled:.2f} s, and {plain:.2f} s without")
    net.load_state_dict(state)
    net.zero_grad(set_to_none=True)


# ---- testing

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


# ---- a run


def train_and_test(run, options, position=None):
    """A run from its start, or from where it was stopped, to its results: a dict, and the lines that say it.

    position: the line of its progress bar, of several.
    """
    config, folder = run.config, run.folder
    prepare(config)
    clips = read_clips(run.h5, options.cache, options.device)
    if clips.sha256 != run.data_sha256:
        raise UserError(f"{run.h5}: it has been replaced since this command started; start it again")
    clips = clips.resplit(config.split)
    command = run.command or options.command
    trainer = Trainer(config, clips, folder, command, options.print_freq, options.tensorboard, run.init)
    trainer.bar |= {"desc": run.title or None, "position": position}
    distributed.run_on_main(lambda: util.remove_stale_parts(folder, f"{config.case}_"))
    if options.resume:
        trainer.resume()
    else:
        distributed.run_on_main(trainer.start_anew)
    best, start, lines = trainer.file("best.pth"), time.perf_counter(), []
    if not trainer.results:
        try:
            trainer.train()
            minutes = (time.perf_counter() - start) / 60
            lines = [f"note: trained {len(trainer.log)} epochs, {minutes:.1f} minutes in this run"]
            checkpoint, top1 = evaluate_and_write(best, config, clips, folder)
            last_top1 = top1
            if checkpoint.epoch != config.epochs:
                ids = clips.ids("test")
                logits = test_logits(trainer.net, clips, ids, config.recipe, config.seed, config.amp)
                last_top1 = accuracy(logits, clips.label[ids])
            trainer.results = {"epoch": checkpoint.epoch, "selected": checkpoint.selected, "top1": top1}
            trainer.results["last_top1"] = last_top1
            distributed.run_on_main(trainer.finish)
        except KeyboardInterrupt as interrupt:
            done = f"{len(trainer.log)} of {config.epochs} epochs are in {folder}"
            raise type(interrupt)(f"{done}; the same command with --resume continues") from None
    return trainer.results | {"seed": config.seed, "checkpoint": str(best)}, lines + trainer.summary()
