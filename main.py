"""Trains and tests SGN.

    python main.py --dataset DEMO --max-epochs 30               # no data at hand: the demo set is made first
    python main.py --network SGN --train 1 --case 0             # trains on NTU RGB+D cross-subject, then tests
    python main.py --network SGN --train 1 --case 1 --resume    # cross-view; goes on where it was stopped
    python main.py --network SGN --train 0 --case 0             # tests results/NTU/SGN/0_best.pth
    python main.py --dataset NUCLA --seeds 5                    # five runs, and their mean and spread

Writes results/<dataset>/<network>/: <case>_best.pth, <case>_log.csv, <case>_lable.txt and <case>_pred.txt (the labels,
and the averaged logits, of the test clips, a line each), and <case>_state.pth, from which --resume goes on. With
--seeds, each run has a folder seed<n>/ there. The recipe is the release's (SPEC, "Training and testing").
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

import util
from data import DATASETS, ROOT, open_clips, rotate
from model import SGN, Folded, load_checkpoint, load_safely
from util import UserError, above_zero, count, not_negative, replacing, save_checkpoint

TEST_DRAWS = 5
EVAL_BATCH = 256  # clips; the figure does not depend on it
IMMATERIAL = {"command", "train", "data", "cache", "results", "seeds", "resume", "print_freq"}  # to what comes out
KEPT = "Earlier epochs are kept. Look at the data (tools/check_h5.py), --lr and --theta"
SELECT = {
    "test": "best epoch by one draw on the test set",
    "val": "best epoch by one draw on the held-out 5%",
    "last": "last epoch",
}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--network", choices=("SGN",), default="SGN", help="the network (%(default)s)")
    add("--dataset", default="NTU", help=f"{', '.join(DATASETS)}, or a path to an .h5 in the same layout (%(default)s)")
    add("--case", type=int, default=0, help="protocol; for NTU 0 is cross-subject, 1 cross-view (%(default)s)")
    add("--train", type=int, choices=(0, 1), default=1, help="1: train, then test; 0: test the checkpoint")
    add("--data", type=Path, help="folder that holds the h5 (the data set's own below data/)")
    add("--cache", action="store_true", help="keep the packed clips beside the h5, so that the next start is at once")
    add("--results", type=Path, default=ROOT / "results", help="folder for what is written (results/)")
    add("--device", help="cpu, cuda, cuda:1, ... (cuda where there is one, else cpu)")
    add("--seed", type=util.seed, help="of all randomness (1; when testing, the checkpoint's)")
    add("--seeds", type=util.seeds, help="several runs: 5 is seeds 1 to 5; or seeds, with commas between")
    add("--resume", action="store_true", help="go on where a run was stopped; begin where there is none")
    add("--deterministic", action="store_true", help="on a GPU, only kernels that give the same bits every time")
    chosen = "epoch to keep: best on the test set, as in the release; best on 5%% held out of training; or the last"
    add("--select", choices=tuple(SELECT), default="test", help=f"{chosen} (%(default)s)")
    add("--monitor", choices=("val_acc", "val_loss"), default="val_acc", help="what makes it the best (%(default)s)")
    add("--max-epochs", "--max-epoches", type=count, default=120, help="epochs to train (%(default)s)")
    add("--batch-size", "-b", type=count, default=64, help="clips in a training step (%(default)s)")
    add("--lr", type=above_zero, default=0.001, help="initial learning rate (%(default)s)")
    steps = "times the learning rate after 1/2, 3/4 and 11/12 of the epochs: 60, 90 and 110 of 120"
    add("--lr-factor", type=above_zero, default=0.1, help=f"{steps} (%(default)s)")
    add("--weight-decay", "--wd", type=not_negative, default=0.0001, help="L2, on all parameters (%(default)s)")
    add("--theta", type=not_negative, help="training rotation in radians (0.3, across views 0.5)")
    add("--seg", type=count, help="segments, the frames drawn from a clip (20; when testing, the checkpoint's)")
    add("--num-classes", type=count, help="outputs of the network (the classes of the data)")
    add("--print-freq", "-p", type=count, default=10, help="steps between updates of the bar's loss (%(default)s)")
    return parser.parse_args(argv)


def criterion(logits, label):
    """Cross entropy against 0.9 on the true class and 0.1 / (classes - 1) on each other class, mean over the batch.

    PyTorch's own smoothing spreads s / classes over all classes, the true one too: the same with this s.
    """
    classes = logits.shape[1]
    return F.cross_entropy(logits, label, label_smoothing=0.1 * classes / (classes - 1))


@torch.inference_mode()
def predict(net, clips, ids, draws, generator):
    """Logits of clips, averaged over `draws` independent draws of each: (n, classes). No clip is left out."""
    net = Folded(net)
    drawn = [clips.draw_frames(ids, generator, net.seg) for _ in range(draws)]
    parts = []
    for i in range(0, len(ids), EVAL_BATCH):
        batch = slice(i, i + EVAL_BATCH)
        parts.append(torch.stack([net(clips.gather(ids[batch], frames[batch])) for frames in drawn]).mean(dim=0))
    return torch.cat(parts)


def accuracy(logits, label):
    """Top-1 in percent."""
    return 100 * (logits.argmax(dim=1) == label).sum().item() / len(label)


class Run:
    """One training run: all that is resumed stands in `state`, and all that must agree for it in `settings`."""

    def __init__(self, args, clips, name, theta, folder):
        self.args, self.clips, self.theta, self.folder = args, clips, theta, folder
        device = clips.frames.device
        self.settings = {key: value for key, value in vars(args).items() if key not in IMMATERIAL}
        self.settings |= {"dataset": name, "theta": theta, "data_sha256": clips.sha256, "device": device.type}
        self.settings["num_classes"] = classes = args.num_classes or len(clips.class_names)
        self.about = util.provenance(args.command, device, **self.settings)
        torch.manual_seed(args.seed)  # initial weights and dropout; everything else has a generator
        self.net = SGN(classes, clips.joints, args.seg).to(device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=args.lr, weight_decay=args.weight_decay, fused=True)
        self.generator = torch.Generator(device).manual_seed(args.seed)
        self.rows, self.best, self.results = [], float("inf"), {}

        learn, watch = (["", "valid_"], "test_") if args.select != "val" else ([""], "valid_")
        self.learn, self.watched = clips.ids(*learn), clips.ids(watch)
        if len(self.learn) < args.batch_size:
            raise UserError(
                f"--batch-size {args.batch_size}: only {len(self.learn)} training clips; take at most that many"
            )
        if not len(self.watched):
            raise UserError(f"--select {args.select}: no clips in {watch}x to choose on; take another --select")

    def file(self, suffix):
        return self.folder / f"{self.args.case}_{suffix}"

    def save(self):
        """The log, then the state: a run stopped between them does the epoch again, to the same end."""
        lines = [f"{key}: {value}" for key, value in self.about.items()] + self.results.get("lines", [])
        util.write_csv(self.file("log.csv"), lines, self.rows)
        random = {"dropout": torch.get_rng_state(), "data": self.generator.get_state()}
        if self.generator.device.type == "cuda":
            random["dropout_cuda"] = torch.cuda.get_rng_state(self.generator.device)
        state = {"settings": self.settings, "about": self.about, "rows": self.rows, "best": self.best, "random": random}
        state |= {"results": self.results, "net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}
        save_checkpoint(state, self.file("state.pth"))

    def resume(self):
        """Takes up the state of <case>_state.pth, if there is one. Raises UserError if its settings differ."""
        path = self.file("state.pth")
        if not path.is_file():
            return
        state = util.opened(load_safely, path)
        try:
            began = state["settings"]
            differ = [f"{k} {began.get(k)} -> {v}" for k, v in self.settings.items() if began.get(k) != v]
            if differ:
                raise UserError(f"{path}: the run began with other settings: {', '.join(differ)}. Take those, or leave "
                    "--resume out to begin anew")  # fmt: skip
            self.about, self.rows, self.best, self.results = (state[k] for k in ("about", "rows", "best", "results"))
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.generator.set_state(state["random"]["data"])
            torch.set_rng_state(state["random"]["dropout"])
            if "dropout_cuda" in state["random"]:
                torch.cuda.set_rng_state(state["random"]["dropout_cuda"], self.generator.device)
        except UserError:
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise UserError(f"{path}: not the state of such a run ({str(error).splitlines()[0]})") from None
        if not self.file("best.pth").is_file():
            raise UserError(f"{self.file('best.pth')}: missing, though {path.name} goes on from it; begin anew")

    def train(self):
        """Trains by the recipe. After every epoch a row of the log (loss and acc of training, val_loss and val_acc of
        one draw a clip of what is watched: the test set, or with --select val the clips held out), <case>_best.pth if
        it is the epoch to keep so far, and the state."""
        args, clips = self.args, self.clips
        watcher = torch.Generator(clips.frames.device)
        label = clips.label[self.watched]
        steps = len(self.learn) // args.batch_size
        with tqdm(total=args.max_epochs * steps, initial=len(self.rows) * steps, unit="step", smoothing=0.05) as bar:
            for epoch in range(len(self.rows) + 1, args.max_epochs + 1):
                bar.set_description(f"epoch {epoch}/{args.max_epochs}")
                lr = args.lr * args.lr_factor ** sum(12 * (epoch - 1) >= k * args.max_epochs for k in (6, 9, 11))
                self.optimizer.param_groups[0]["lr"] = lr
                loss, acc = self.train_epoch(epoch, bar)
                logits = predict(self.net, clips, self.watched, 1, watcher.manual_seed(args.seed + epoch))
                if not all(value.isfinite().all() for value in (logits, *self.net.state_dict().values())):
                    raise UserError(f"epoch {epoch}: weights or logits are not finite after it. {KEPT}")
                val = {"val_loss": criterion(logits, label).item(), "val_acc": accuracy(logits, label)}
                self.rows.append(row := {"loss": loss, "acc": acc} | val | {"lr": lr})
                value = row["val_loss"] if args.monitor == "val_loss" else -row["val_acc"]
                if value < self.best or args.select == "last":
                    self.best = value
                    kept = {"epoch": epoch, "best": row[args.monitor], "monitor": args.monitor, "about": self.about}
                    kept |= {"seed": args.seed, "select": args.select, "state_dict": self.net.state_dict()}
                    save_checkpoint(kept, self.file("best.pth"))
                self.save()

    def train_epoch(self, epoch, bar):
        """One epoch, shuffled, the last incomplete batch dropped. Returns its loss and accuracy."""
        args, clips, ids = self.args, self.clips, self.learn
        self.net.train()
        batches = ids[torch.randperm(len(ids), generator=self.generator, device=ids.device)].split(args.batch_size)
        batches = [batch for batch in batches if len(batch) == args.batch_size]
        # Both stay on the device, which is waited for at every --print-freq steps and not at every step
        losses = torch.zeros(len(batches), device=ids.device)
        correct = torch.zeros(len(batches), device=ids.device)
        for step, batch in enumerate(batches, 1):
            x = rotate(clips.draw(batch, self.generator, args.seg), self.theta, self.generator)
            logits = self.net(x)
            loss = criterion(logits, clips.label[batch])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            losses[step - 1] = loss.detach()
            correct[step - 1] = (logits.argmax(dim=1) == clips.label[batch]).float().mean()
            if step % args.print_freq == 0 or step == len(batches):
                wrong = (~losses.isfinite()).nonzero()
                if len(wrong):
                    first = wrong[0].item()
                    raise UserError(f"epoch {epoch}, step {first + 1}: the loss is {losses[first].item()}. {KEPT}")
                shown = losses[:step].mean().item(), 100 * correct[:step].mean().item()
                bar.set_postfix(loss=f"{shown[0]:.3f}", acc=f"{shown[1]:.1f}")
            bar.update()
        return shown


def test(net, clips, ids, seed):
    """Five draws a clip, their logits averaged: (n, classes). The same seed draws the same frames."""
    generator = torch.Generator(clips.frames.device).manual_seed(seed)
    return predict(net, clips, ids, TEST_DRAWS, generator)


def test_checkpoint(args, clips, folder):
    """Tests <case>_best.pth, writes labels and logits, and returns the line that says what came of it, and top-1."""
    path, classes = folder / f"{args.case}_best.pth", args.num_classes or len(clips.class_names)
    net, checkpoint = util.opened(load_checkpoint, path)
    if (net.num_joint, net.num_classes) != (clips.joints, classes):
        made_for = f"{net.num_joint} joints and {net.num_classes} classes"
        raise UserError(f"{path}: made for {made_for}, the data has {clips.joints} and {classes}")
    if args.seg not in (None, net.seg):
        raise UserError(f"--seg {args.seg}: {path} was made with {net.seg}")
    ids = clips.ids("test_")
    label = clips.label[ids]
    seed = args.seed if args.seed is not None else checkpoint.get("seed", 1)
    logits = test(net.to(ids.device), clips, ids, seed)
    for suffix, values, form in (("lable", label, "%d"), ("pred", logits, "%f")):
        with replacing(folder / f"{args.case}_{suffix}.txt") as part:
            np.savetxt(part, values.cpu().numpy(), fmt=form)
    top1 = accuracy(logits, label)
    how = SELECT.get(checkpoint.get("select"), "chosen by its makers")
    line = f"epoch {checkpoint.get('epoch', '?')} ({how}): top-1 {top1:.2f}%"
    return f"{line}, {TEST_DRAWS} draws of each of the {len(ids)} test clips", top1


def train_and_test(args, clips, name, theta, folder):
    """One run from its beginning, or from where it was stopped, to its two figures: top-1 of best and last epoch."""
    util.sweep(folder)
    run = Run(args, clips, name, theta, folder)
    if args.resume:
        run.resume()
    else:  # an earlier run's state must not be taken for this one's
        run.file("state.pth").unlink(missing_ok=True)
    if not run.results:  # else it was finished before
        start = time.perf_counter()
        try:
            run.train()
            print(f"trained {len(run.rows)} epochs, in {(time.perf_counter() - start) / 60:.1f} minutes now")
            ids = clips.ids("test_")
            last = accuracy(test(run.net, clips, ids, args.seed), clips.label[ids])
            line, best = test_checkpoint(args, clips, folder)
            lines = [f"last epoch {args.max_epochs}: top-1 {last:.2f}%, {TEST_DRAWS} draws", line]
            run.results = {"lines": lines, "best": best, "last": last}
            run.save()
        except KeyboardInterrupt as stop:
            done = f"{len(run.rows)} of {args.max_epochs} epochs are kept in {folder}"
            raise type(stop)(f"{done}; the same command with --resume goes on") from None
    print(*run.results["lines"], sep="\n")
    return run.results["best"], run.results["last"]


def main(argv=None):
    args = parse_args(argv)
    if not args.train and (args.seeds or args.resume):
        raise UserError("--train 0 tests one checkpoint: it takes neither --seeds nor --resume")
    if args.seeds and args.seed is not None:
        raise UserError("--seed and --seeds: take one of them")
    args.command = " ".join(["main.py", *(sys.argv[1:] if argv is None else argv)])
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    device = util.pick_device(args.device)
    clips, name, theta = open_clips(args.dataset, args.case, args.data, args.cache)
    theta = theta if args.theta is None else args.theta
    classes = len(clips.class_names)
    if (args.num_classes or classes) < classes:
        raise UserError(f"--num-classes {args.num_classes}: the data has {classes} classes")
    if not clips.splits["test_"]:
        raise UserError(f"{args.dataset}: no clips in test_x, nothing to test on")
    clips = clips.to(device)
    folder = args.results / name / args.network
    print(f"{name} case {args.case} ({clips.protocol}): {len(clips.label)} clips, {classes} classes, on {device}")

    if args.train:
        args.seg = args.seg or 20
    if args.train and args.seeds:
        figures = []
        for seed in args.seeds:
            print(f"seed {seed}:")
            args.seed = seed
            figures.append(train_and_test(args, clips, name, theta, folder / f"seed{seed}"))
        for what, values in zip((SELECT[args.select], SELECT["last"]), zip(*figures, strict=True), strict=True):
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            print(f"{what}: top-1 {statistics.mean(values):.2f} +- {spread:.2f}% over {len(values)} seeds")
    elif args.train:
        args.seed = 1 if args.seed is None else args.seed
        train_and_test(args, clips, name, theta, folder)
    else:
        start = time.perf_counter()
        print(f"{test_checkpoint(args, clips, folder)[0]}, in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    with util.one_clear_line():
        main()
