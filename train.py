"""Training. The whole state of a run is on the disk after every epoch."""

import importlib.util
import math
import sys
from contextlib import nullcontext

import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

import distributed
import logs
import util
from checkpoint import check_size, copy_tensors, load_checkpoint, read_torch_file, save_torch_file
from data import DATASETS
from evaluate import accuracy, predict_logits
from model import SGN
from recipes import Config
from util import UserError, derive_seed

ADVICE = "Earlier epochs are kept. Check the data (tools/check_h5.py), --lr and --theta"


def criterion(logits, label):
    """Cross entropy against 0.9 for the true class and 0.1 / (classes - 1) for each other, mean over the batch.

    PyTorch's label smoothing s spreads s / classes over all classes, the true one included: the same with this s.
    """
    classes = logits.shape[1]
    return F.cross_entropy(logits, label, label_smoothing=0.1 * classes / (classes - 1))


def make_optimizer(net, lr, weight_decay):
    return torch.optim.Adam(net.parameters(), lr=lr, weight_decay=weight_decay, fused=True)


class Trainer:
    """One run. Files go to `folder`: <case>_best.pth, <case>_log.csv and <case>_state.pth.

    config: a Config in which theta (unless the recipe has its own rotation), seg and num_classes are set.
    Randomness has no state: the generators of every epoch are seeded from the seed and the epoch.
    """

    def __init__(self, config, clips, folder, command="", print_freq=10, tensorboard=False):
        self.config, self.clips, self.folder, self.print_freq = config, clips, folder, print_freq
        self.device = device = clips.frames.device
        self.settings = config.settings() | {"data_sha256": clips.sha256, "device": device.type}
        self.settings["processes"] = distributed.world_size()
        self.about = util.provenance(command, device, **self.settings)
        self.eval_split = "valid" if config.select == "val" else "test"
        self.train_ids = clips.ids("train") if config.select == "val" else clips.ids("train", "valid")
        self.eval_ids = clips.ids(self.eval_split)
        self.check(tensorboard)
        self.tensorboard = tensorboard and distributed.is_main_process()
        self.flip_pairs = clips.flip_pairs() if config.recipe.flip else None
        torch.manual_seed(config.seed)  # initial weights
        edges = clips.bones() if "skeleton-graph" in config.ablate else None
        self.net = SGN(config.num_classes, clips.joints, config.seg, config.ablate, edges).to(device)
        self.optimizer = make_optimizer(self.net, config.lr, config.weight_decay)
        self.generator = torch.Generator(device)
        self.log = []  # a row for each epoch
        self.best = math.inf  # of the selected epoch
        self.results = {}  # of the finished run: {"epoch": selected, "top1": float, "last_top1": float}

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

    def file(self, suffix):
        return self.folder / f"{self.config.case}_{suffix}"

    # ---- the state on the disk

    def state(self):
        return {
            "settings": self.settings,
            "about": self.about,
            "log": self.log,
            "best": self.best,
            "results": self.results,
            "net": dict(self.net.state_dict()),
            "optimizer": self.optimizer.state_dict()["state"],
        }

    def save(self):
        """Writes the log, then the state: a run that is stopped between them repeats the epoch, to the same end."""
        comments = [f"{key}: {value}" for key, value in self.about.items()] + self.summary()
        logs.write_log(self.file("log.csv"), comments, self.log)
        save_torch_file(self.state(), self.file("state.pth"))

    def summary(self):
        """The lines that say what came out of a finished run; else none."""
        if not self.results:
            return []
        config, results = self.config, self.results
        return [
            f"last epoch {config.epochs}: top-1 {results['last_top1']:.2f}%",
            f"epoch {results['epoch']} ({results['selected']}): top-1 {results['top1']:.2f}%, "
            f"{config.recipe.test_samples} samples of each of the {len(self.clips.splits['test'])} test clips",
        ]

    def start_anew(self):
        """Removes the state of an earlier run. Raises UserError if that would lose a checkpoint of other data."""
        best = self.file("best.pth")
        if best.is_file():
            try:
                trained_on = load_checkpoint(best).about.get("data_sha256")
            except UserError:  # not ours
                trained_on = None
            if trained_on not in (None, self.clips.sha256):
                if self.config.dataset not in DATASETS:
                    raise UserError(f"{best}: trained on another h5 of this name; move it, or choose other --results")
                print(f"note: {best} was trained on another h5, and will be replaced", file=sys.stderr)
        self.file("state.pth").unlink(missing_ok=True)

    def resume(self):
        """Continues from <case>_state.pth, if there is one.

        Raises UserError if it was started with other settings, or is not the state of such a run.
        """
        path = self.file("state.pth")
        state = distributed.run_on_main(lambda: read_torch_file(path) if path.exists() else None)
        if state is None:
            distributed.run_on_main(self.start_anew)
            return
        try:
            self.load_state(state)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise UserError(f"{path}: not the state of a run ({util.shorten(error, 150)})") from None
        if not distributed.run_on_main(self.file("best.pth").is_file):
            raise UserError(f"{self.file('best.pth')}: missing, but {path.name} needs it; leave out --resume")

    def load_state(self, state):
        settings = Config().settings() | dict(state["settings"])
        different = [
            f"{key} {util.shorten(settings.get(key), 120)} -> {value}"
            for key, value in self.settings.items()
            if type(settings.get(key)) is not type(value) or settings[key] != value
        ]
        if different:
            changes = ", ".join(different)
            raise UserError(f"started with other settings: {changes}. Use those, or leave out --resume to start anew")
        log, about, results = list(state["log"]), dict(state["about"]), dict(state["results"])
        columns = self.row(0, 0.0, 0.0, 0.0, 0.0, 0.0).keys()
        numbers = [value for row in log for value in row.values()] + [state["best"]]
        texts = list(about.values())
        if results:
            numbers += [results["epoch"], results["top1"], results["last_top1"]]
            texts.append(results["selected"])
        if not 1 <= len(log) <= self.config.epochs or any(row.keys() != columns for row in log):
            raise ValueError("its log has other rows")
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
            raise ValueError("it has other things in place of numbers")
        if not all(isinstance(value, str) for value in texts):
            raise ValueError("it has other things in place of text")
        for parameter in self.net.parameters():  # a step creates the optimizer's tensors; all values are loaded below
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        copy_tensors(dict(self.net.state_dict()), state["net"], "net")
        copy_tensors(self.optimizer.state_dict()["state"], state["optimizer"], "optimizer")
        self.log, self.best, self.results = log, float(state["best"]), results
        pairs = [(self.about[key], about.get(key)) for key in ("versions", "hardware")]
        changed = [f"{now}, not {then}" for now, then in pairs if now != then]
        self.about = about
        if changed and not results:
            self.about[f"from epoch {len(log) + 1} on"] = "; ".join(changed)
            distributed.warn_once(f"continuing with {'; '.join(changed)}: the bits may differ")

    # ---- training

    def train(self):
        """Trains to the last epoch. After every epoch: a row of the log, the state, and perhaps <case>_best.pth."""
        config = self.config
        forward = self.wrapped_net()
        eval_generator = torch.Generator(self.device)
        steps, done = len(self.train_ids) // config.batch_size, len(self.log)
        quiet = not distributed.is_main_process()
        bar = tqdm(total=config.epochs * steps, initial=done * steps, unit="step", smoothing=0.05, disable=quiet)
        with bar, self.open_tensorboard() as writer:
            for epoch in range(done + 1, config.epochs + 1):
                lr = config.recipe.learning_rate(config.lr, config.lr_factor, epoch, config.epochs)
                for group in self.optimizer.param_groups:
                    group["lr"] = lr
                train_loss, train_acc = self.train_epoch(forward, epoch, bar)
                distributed.broadcast(self.net.buffers())
                eval_generator.manual_seed(config.seed + epoch)
                whole_clip = config.recipe.whole_clip
                logits = predict_logits(self.net, self.clips, self.eval_ids, eval_generator, 1, whole_clip, config.amp)
                if not all(value.isfinite().all() for value in (logits, *self.net.state_dict().values())):
                    raise UserError(f"epoch {epoch}: weights or logits are not finite. {ADVICE}")
                label = self.clips.label[self.eval_ids]
                loss, acc = criterion(logits, label).item(), accuracy(logits, label)
                self.log.append(self.row(epoch, train_loss, train_acc, loss, acc, lr))
                distributed.run_on_main(lambda loss=loss, acc=acc: self.save_epoch(loss, acc))
                if writer:
                    for name, value in self.log[-1].items():
                        writer.add_scalar(name, value, epoch)
                    writer.flush()

    def row(self, epoch, train_loss, train_acc, eval_loss, eval_acc, lr):
        """A row of the log, whose columns say on which clips the epoch is selected."""
        row = {"epoch": epoch, "train_loss": train_loss, "train_acc": train_acc}
        return row | {f"{self.eval_split}_loss": eval_loss, f"{self.eval_split}_acc": eval_acc, "lr": lr}

    def save_epoch(self, eval_loss, eval_acc):
        config = self.config
        value = eval_loss if config.monitor == "val_loss" else -eval_acc
        if value < self.best or config.select == "last":
            self.best = value
            content = {
                "epoch": len(self.log),
                "best": eval_loss if config.monitor == "val_loss" else eval_acc,
                "monitor": config.monitor,
                "about": self.about,
                "seed": config.seed,
                "select": config.select,
                "recipe": str(config.recipe),
                "seg": config.seg,
                "ablate": config.ablate,
                "class_names": list(self.clips.class_names),
                "skeleton": self.clips.skeleton.to_attributes(),
                "state_dict": dict(self.net.state_dict()),
            }
            save_torch_file(content, self.file("best.pth"))
        self.save()

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
            ids = self.train_ids[distributed.shard(self.config.batch_size)]
            try_compile(self.net, self.clips.sample(ids, self.generator, self.config.seg), self.config.amp)
        return DistributedDataParallel(self.net) if distributed.world_size() > 1 else self.net

    def train_epoch(self, forward, epoch, bar):
        """One epoch over shuffled clips, without the last incomplete batch. Returns its mean loss, and top-1 in %."""
        config, ids = self.config, self.train_ids
        self.generator.manual_seed(derive_seed(config.seed, epoch))
        torch.manual_seed(derive_seed(config.seed, epoch, 1 + distributed.rank()))  # dropout
        self.net.train()
        shuffled = ids[torch.randperm(len(ids), generator=self.generator, device=ids.device)]
        steps = len(ids) // config.batch_size
        batches = shuffled[: steps * config.batch_size].split(config.batch_size)
        # On the device, which is waited for every print_freq steps, not at every step
        losses, correct = torch.zeros(2, steps, device=ids.device)
        for step, batch in enumerate(batches):
            losses[step], correct[step] = self.train_step(forward, batch)
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
        losses, correct = distributed.all_reduce_sum(torch.stack([losses[:steps], correct[:steps]]))
        losses = losses / distributed.world_size()
        if not losses.isfinite().all():
            step = losses.isfinite().int().argmin().item()
            raise UserError(f"epoch {epoch}, step {step + 1}: the loss is {losses[step].item()}. {ADVICE}")
        return losses.mean().item(), 100 * (correct / self.config.batch_size).mean().item()


def try_compile(net, example, amp=False):
    """Compiles a network in place and tries a step. If that fails, a line says so and the network is as before."""
    state = {name: value.clone() for name, value in net.state_dict().items()}
    distributed.warn_once("compiling, which takes a minute or two")
    try:
        net.compile()
        with torch.autocast(example.device.type, torch.bfloat16, enabled=amp):
            logits = net.train()(example)
        logits.float().sum().backward()
    except Exception as error:  # whatever a compiler may raise
        net._compiled_call_impl = None
        lines = [line for line in str(error).splitlines() if line.strip() and not line.endswith("raised:")]
        print(f"--compile: failed, continuing without ({lines[0] if lines else error})", file=sys.stderr)
    net.load_state_dict(state)
    net.zero_grad(set_to_none=True)
