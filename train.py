"""Training: one run, whose whole state is on the disk after every epoch."""

import importlib.util
import math
import sys
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

import ranks
import util
from checkpoint import load_safely
from data import DATASETS
from evaluate import accuracy, predict
from model import SGN
from recipes import PAPER
from util import UserError, derived_seed, save_checkpoint

# What makes no difference to what comes out of a run
IMMATERIAL = {"command", "train", "data", "cache", "results", "seeds", "splits", "resume", "print_freq", "tensorboard"}
COLUMNS = ("loss", "acc", "val_loss", "val_acc", "lr")  # of the log
KEPT = "Earlier epochs are kept. Look at the data (tools/check_h5.py), --lr and --theta"


def material(args):
    """Those of the command line's values that make a difference to what comes out of a run."""
    return {key: value for key, value in vars(args).items() if key not in IMMATERIAL}


def criterion(logits, label):
    """Cross entropy against 0.9 on the true class and 0.1 / (classes - 1) on each other class, mean over the batch.

    PyTorch's own smoothing spreads s / classes over all classes, the true one too: the same with this s.
    """
    classes = logits.shape[1]
    return F.cross_entropy(logits, label, label_smoothing=0.1 * classes / (classes - 1))


def adam(net, lr, weight_decay):
    """The optimiser of the recipe; fused is the same steps in fewer passes over the memory."""
    return torch.optim.Adam(net.parameters(), lr=lr, weight_decay=weight_decay, fused=True)


class Run:
    """One training run: what must agree for it to be resumed stands in `settings`.

    Randomness needs no state: every epoch's generators are seeded from --seed and the epoch.
    """

    def __init__(self, args, clips, name, theta, folder):
        self.recipe = recipe = args.recipe
        self.args, self.clips, self.theta, self.folder = args, replace(clips, recipe=recipe), theta, folder
        self.device = device = clips.frames.device
        self.sides = clips.sides() if recipe.mirror else None
        self.settings = material(args)
        self.settings |= {"dataset": name, "data_sha256": clips.sha256, "device": device.type, "recipe": str(recipe)}
        self.settings["theta"] = None if theta and recipe.turns else theta
        self.settings["num_classes"] = classes = args.num_classes or len(clips.class_names)
        self.settings["processes"] = ranks.count()
        self.about = util.provenance(args.command, device, **self.settings)
        torch.manual_seed(args.seed)  # initial weights
        ablate = args.ablate or ()
        edges = clips.bones() if "skeleton-graph" in ablate else None
        self.net = SGN(classes, clips.joints, args.seg, ablate, edges).to(device)
        self.optimizer = adam(self.net, args.lr, args.weight_decay)
        self.generator = torch.Generator(device)
        self.rows, self.best, self.results = [], float("inf"), {}

        learn, watch = (["", "valid_"], "test_") if args.select != "val" else ([""], "valid_")
        self.learn, self.watched = clips.ids(*learn), clips.ids(watch)
        if len(self.learn) < args.batch_size:
            raise UserError(
                f"--batch-size {args.batch_size}: only {len(self.learn)} training clips; take at most that many"
            )
        if args.batch_size < ranks.count():
            raise UserError(f"--batch-size {args.batch_size}: {ranks.count()} processes share it; each needs a clip")
        if args.tensorboard and importlib.util.find_spec("tensorboard") is None:
            raise UserError("--tensorboard: needs its package; pip install -r requirements-extra.txt")
        if not len(self.watched):
            raise UserError(f"--select {args.select}: no clips in {watch}x to choose on; take another --select")

    def file(self, suffix):
        return self.folder / f"{self.args.case}_{suffix}"

    def save(self):
        """The log, then the state: a run stopped between them does the epoch again, to the same end."""
        lines = [f"{key}: {value}" for key, value in self.about.items()] + self.results.get("lines", [])
        util.write_csv(self.file("log.csv"), lines, self.rows)
        save_checkpoint(self.state(), self.file("state.pth"))

    def state(self):
        state = {"settings": self.settings, "about": self.about, "rows": self.rows, "best": self.best}
        return state | {"results": self.results, "net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

    def begin(self):
        """Makes way for a run begun anew: the state of an earlier one must not be taken for its own.

        Where a checkpoint of another h5 of the same name would be lost, a line says so; where the h5 is a file of one's
        own, whose name need not say which data are in it, a UserError does.
        """
        best = self.file("best.pth")
        try:
            made_from = load_safely(best)["about"]["data_sha256"]
        except (OSError, ValueError, TypeError, KeyError, IndexError):  # not there, or not ours
            made_from = self.clips.sha256
        if made_from != self.clips.sha256:
            if self.settings["dataset"] not in DATASETS:
                raise UserError(f"{best}: was trained on another h5 of this name; move it, or take another --results")
            print(f"note: {best} was trained on another h5 than this one, and will be replaced", file=sys.stderr)
        self.file("state.pth").unlink(missing_ok=True)

    def resume(self):
        """Takes up the state of <case>_state.pth, if there is one.

        Nothing in it is believed that is not built as this run's own. Raises UserError, also if its settings differ.
        """
        path = self.file("state.pth")
        state = ranks.from_first(lambda: util.opened(load_safely, path) if path.is_file() else None)
        if state is None:
            return
        fresh = self.state()
        if type(state) is not dict or state.keys() != fresh.keys() or type(state["settings"]) is not dict:
            raise UserError(f"{path}: not the state of such a run (it holds other things)")
        began = state["settings"] = {"recipe": str(PAPER)} | state["settings"]  # of before there were others
        differ = [
            f"{key} {util.brief(began.get(key), 120)} -> {value}"
            for key, value in self.settings.items()
            if type(began.get(key)) is not type(value) or began.get(key) != value
        ]
        if differ:
            raise UserError(f"{path}: the run began with other settings: {', '.join(differ)}. Take those, or leave "
                "--resume out to begin anew")  # fmt: skip
        rows, results, about = state["rows"], state["results"], state["about"]
        for parameter in self.net.parameters():  # a step gives the optimiser its state; all it changes is loaded below
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        fresh |= {"settings": began, "best": 0.0, "optimizer": self.optimizer.state_dict()}
        fresh |= {"rows": [dict.fromkeys(COLUMNS, 0.0)] * (len(rows) if type(rows) is list else 1)}
        fresh |= {"results": {} if results == {} else {"lines": ["", ""], "best": 0.0, "last": 0.0}}
        fresh |= {"about": dict.fromkeys(about, "") if type(about) is dict else {}}
        wrong = unlike(state, fresh, "state")
        if not wrong and not 1 <= len(rows) <= self.args.max_epochs:
            wrong = f"{len(rows)} epochs"
        if wrong:
            raise UserError(f"{path}: not the state of such a run ({wrong})")
        now, self.about, self.rows, self.best, self.results = self.about, about, rows, state["best"], results
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(fresh["optimizer"] | {"state": state["optimizer"]["state"]})
        changed = [
            f"{now[key]}, not {about.get(key)}" for key in ("versions", "hardware") if about.get(key) != now[key]
        ]
        if changed and not results:
            self.about[f"from epoch {len(rows) + 1} on"] = "; ".join(changed)
            ranks.say(f"note: going on with {'; '.join(changed)}: the bits may differ", file=sys.stderr)
        if not ranks.from_first(self.file("best.pth").is_file):
            raise UserError(f"{self.file('best.pth')}: missing, though {path.name} goes on from it; begin anew")

    def train(self):
        """Trains by the recipe. After every epoch a row of the log (loss and acc of training, val_loss and val_acc of
        one draw a clip of what is watched: the test set, or with --select val the clips held out), <case>_best.pth if
        it is the epoch to keep so far, and the state."""
        args, clips = self.args, self.clips
        forward = self.forward()
        watcher = torch.Generator(self.device)
        label = clips.label[self.watched]
        steps, done = len(self.learn) // args.batch_size, len(self.rows)
        total, quiet = args.max_epochs * steps, not ranks.first()
        board = self.board() if args.tensorboard and ranks.first() else nullcontext()
        bar = tqdm(total=total, initial=done * steps, unit="step", smoothing=0.05, disable=quiet)
        with bar, board as writer:
            for epoch in range(done + 1, args.max_epochs + 1):
                bar.set_description(f"epoch {epoch}/{args.max_epochs}")
                lr = self.recipe.rate(args.lr, args.lr_factor, epoch, args.max_epochs)
                self.optimizer.param_groups[0]["lr"] = lr
                loss, acc = self.train_epoch(forward, epoch, bar)
                ranks.as_first(self.net.buffers())
                watcher.manual_seed(args.seed + epoch)
                logits = predict(self.net, clips, self.watched, 1, watcher, args.amp)
                if not all(value.isfinite().all() for value in (logits, *self.net.state_dict().values())):
                    raise UserError(f"epoch {epoch}: weights or logits are not finite after it. {KEPT}")
                row = (loss, acc, criterion(logits, label).item(), accuracy(logits, label), lr)
                self.rows.append(dict(zip(COLUMNS, row, strict=True)))
                ranks.from_first(self.keep)
                if writer:
                    for name, value in self.rows[-1].items():
                        writer.add_scalar(name, value, epoch)
                    writer.flush()

    def board(self):
        """A writer to <case>_tensorboard/, which takes back what an earlier run wrote of epochs that are to come."""
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.file("tensorboard"), purge_step=len(self.rows) + 1)

    def keep(self):
        """What is written after an epoch, by one process."""
        args, row = self.args, self.rows[-1]
        value = row["val_loss"] if args.monitor == "val_loss" else -row["val_acc"]
        if value < self.best or args.select == "last":
            self.best = value
            kept = {"epoch": len(self.rows), "best": row[args.monitor], "monitor": args.monitor, "about": self.about}
            kept |= {"seed": args.seed, "select": args.select, "recipe": str(self.recipe), "seg": args.seg}
            kept |= {"ablate": self.net.ablate, "class_names": list(self.clips.class_names)}
            kept |= {"state_dict": self.net.state_dict()}
            save_checkpoint(kept, self.file("best.pth"))
        self.save()

    def forward(self):
        """The network as it is trained: compiled with --compile, and over all processes where there are several."""
        net = self.net
        if ranks.count() > 1 and self.device.type == "cuda":
            # Before it is compiled, so that what is tried is what is trained. PyTorch has it for GPUs alone; on CPUs
            # each process has its own statistics
            net = self.net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(net)
        if self.args.compile:
            example = self.clips.draw(self.learn[ranks.share(self.args.batch_size)], self.generator, self.args.seg)
            try_compile(net, example, self.args.amp)
        return DistributedDataParallel(net) if ranks.count() > 1 else net

    def train_epoch(self, forward, epoch, bar):
        """One epoch, shuffled, the last incomplete batch dropped. Returns its loss and accuracy."""
        args, clips, ids, generator = self.args, self.clips, self.learn, self.generator
        generator.manual_seed(derived_seed(args.seed, epoch))
        torch.manual_seed(derived_seed(args.seed, epoch, 1 + ranks.rank()))  # dropout
        mine = ranks.share(args.batch_size)
        weight = (mine.stop - mine.start) * ranks.count() / args.batch_size  # gradients are averaged over the processes
        self.net.train()
        batches = ids[torch.randperm(len(ids), generator=generator, device=ids.device)].split(args.batch_size)
        batches = [batch for batch in batches if len(batch) == args.batch_size]
        # Both stay on the device, which is waited for at every --print-freq steps and not at every step
        losses = torch.zeros(len(batches), device=ids.device)
        correct = torch.zeros(len(batches), device=ids.device)
        for step, batch in enumerate(batches, 1):
            # The whole batch is drawn in every process, so that it is the same batch however many share it
            drawn = clips.draw(batch, generator, args.seg, self.recipe.crop)
            x = self.recipe.vary(drawn, self.theta, generator, self.sides)[mine]
            label = clips.label[batch[mine]]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=args.amp):
                logits = forward(x)
            loss = criterion(logits.float(), label) * weight
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            losses[step - 1] = loss.detach()
            correct[step - 1] = (logits.argmax(dim=1) == label).sum()
            if step % args.print_freq == 0 or step == len(batches):
                shown = ranks.total(torch.stack([losses, correct]))
                shown = shown[0] / ranks.count(), shown[1] / args.batch_size
                wrong = (~shown[0].isfinite()).nonzero()
                if len(wrong):
                    first = wrong[0].item()
                    raise UserError(f"epoch {epoch}, step {first + 1}: the loss is {shown[0][first].item()}. {KEPT}")
                shown = shown[0][:step].mean().item(), 100 * shown[1][:step].mean().item()
                bar.set_postfix(loss=f"{shown[0]:.3f}", acc=f"{shown[1]:.1f}")
            bar.update()
        return shown


def unlike(given, like, name):
    """How something from a file differs from `like` in its build: types, keys, shapes, and numbers that are not finite.

    name: what to call it. Returns a few words, or None where it does not differ.
    """
    if type(given) is not type(like):
        return f"{name} is {util.brief(given)}"
    if isinstance(like, torch.Tensor):
        if (given.layout, given.shape, given.dtype) != (like.layout, like.shape, like.dtype) or given.is_meta:
            return f"{name} is {tuple(given.shape)} in {given.dtype}, not {tuple(like.shape)} in {like.dtype}"
        return None if given.isfinite().all() else f"{name} is not finite"
    if isinstance(like, float):
        return None if math.isfinite(given) else f"{name} is {given}"
    if not isinstance(like, dict | list | tuple):
        return None
    pairs = like.items() if isinstance(like, dict) else enumerate(like)
    if len(given) != len(like) or isinstance(like, dict) and given.keys() != like.keys():
        return f"{name} has other entries"
    return next(filter(None, (unlike(given[key], value, f"{name}.{key}") for key, value in pairs)), None)


def try_compile(net, example, amp=False):
    """Compiles a network in place, with a trial step; where that fails a line says so, and it stays as it was."""
    state = {name: value.clone() for name, value in net.state_dict().items()}
    ranks.say("compiling, which takes a minute or two", file=sys.stderr)
    try:
        net.compile()
        with torch.autocast(example.device.type, torch.bfloat16, enabled=amp):
            logits = net.train()(example)
        logits.float().sum().backward()
    except Exception as error:  # whatever a compiler may come up with
        net._compiled_call_impl = None
        why = next((line for line in str(error).splitlines() if line.strip() and not line.endswith("raised:")), error)
        print(f"--compile: not compiled, and going on without ({why})", file=sys.stderr)
    net.load_state_dict(state)
    net.zero_grad(set_to_none=True)
