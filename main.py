"""Trains and tests SGN.

    python main.py --dataset DEMO --max-epochs 30               # no data at hand: the demo set is made first
    python main.py --network SGN --train 1 --case 0             # trains on NTU RGB+D cross-subject, then tests
    python main.py --network SGN --train 1 --case 1 --resume    # cross-view; goes on where it was stopped
    python main.py --network SGN --train 0 --case 0             # tests results/NTU/SGN/0_best.pth
    python main.py --dataset NUCLA --seeds 5                    # five runs, and their mean and spread
    python main.py --dataset SYSU --splits 30                   # the same over thirty random splits of the clips
    python main.py --dataset NUCLA --recipe plus -b 16          # better than the paper's recipe, same network
    python main.py --dataset NUCLA --ablate joint-type          # the network without its joint type

Writes results/<dataset>/<network>/: <case>_best.pth, <case>_log.csv, <case>_lable.txt and <case>_pred.txt (the labels,
and the averaged logits, of the test clips, a line each), and <case>_state.pth, from which --resume goes on. With
--seeds or --splits, each run has a folder seed<n>/ or split<n>/ there. An ablated network has results of its own:
--ablate one-gcn,joint-type writes to results/<dataset>/<network>-joint-type+one-gcn/, the names in the order below, and
so has another recipe: results/<dataset>/<network>-plus/, or <network>-plus,noise=0/. The default recipe is the
release's (SPEC, "Training and testing").
"""

import argparse
import contextlib
import os
import statistics
import sys
import time
from pathlib import Path

import util
from util import UserError, above_zero, count, not_negative

if __name__ == "__main__":
    util.interruptible()
import torch  # noqa: E402

import ranks  # noqa: E402
from data import DATASETS, ROOT, Clips, find  # noqa: E402
from evaluate import SELECT, accuracy, test, test_checkpoint  # noqa: E402
from model import ABLATIONS, ablations  # noqa: E402
from recipes import PAPER, RECIPES, named, spelling  # noqa: E402
from train import Run  # noqa: E402


def parse_args(argv=None):
    listed = "\n".join(f"  {name:16}{what}" for name, what in ABLATIONS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"what --ablate takes, one or several with commas between:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--network", choices=("SGN",), default="SGN", help="the network (%(default)s)")
    recipes = f"how to train and test: {' or '.join(RECIPES)}, with other values as in plus,noise=0 (%(default)s)"
    add("--recipe", type=util.told(named), default=PAPER, metavar="NAME[,VALUE=X]", help=recipes)
    add("--ablate", type=ablated, metavar="NAME[,NAME]", help="train a network without a part: see the end")
    add("--dataset", default="NTU", help=f"{', '.join(DATASETS)}, or a path to an .h5 in the same layout (%(default)s)")
    add("--case", type=int, default=0, help="protocol; for NTU 0 is cross-subject, 1 cross-view (%(default)s)")
    add("--train", type=int, choices=(0, 1), default=1, help="1: train, then test; 0: test the checkpoint")
    add("--data", type=Path, help="folder that holds the h5 (the data set's own below data/)")
    add("--cache", action="store_true", help="keep the packed clips beside the h5, so that the next start is at once")
    add("--results", type=Path, default=ROOT / "results", help="folder for what is written (results/)")
    add("--device", help="cpu, cuda, cuda:1, ... (cuda where there is one, else cpu)")
    add("--seed", type=util.seed, help="of all randomness (1; when testing, the checkpoint's)")
    add("--seeds", type=util.seeds, help="several runs: 5 is seeds 1 to 5; or seeds, with commas between (at most 100)")
    add("--splits", type=util.seeds, help="a run for each random split of the h5 (SYSU): 30 is splits 1 to 30; or 4,7")
    add("--resume", action="store_true", help="go on where a run was stopped; begin where there is none")
    add("--deterministic", action="store_true", help="on a GPU, only kernels that give the same bits every time")
    chosen = "epoch to keep: best on the test set, as in the release; best on 5%% held out of training; or the last"
    add("--select", choices=tuple(SELECT), default="test", help=f"{chosen} (%(default)s)")
    add("--monitor", choices=("val_acc", "val_loss"), default="val_acc", help="what makes it the best (%(default)s)")
    add("--amp", action="store_true", help="products in bfloat16, in training and testing")
    add("--compile", action="store_true", help="torch.compile the network for training, where that works")
    add("--max-epochs", "--max-epoches", type=count, default=120, help="epochs to train (%(default)s)")
    add("--batch-size", "-b", type=count, default=64, help="clips in a training step (%(default)s)")
    add("--lr", type=above_zero, default=0.001, help="initial learning rate (%(default)s)")
    steps = "times the learning rate after 1/2, 3/4 and 11/12 of the epochs: 60, 90 and 110 of 120"
    add("--lr-factor", type=util.factor, help=f"{steps} (0.1; --recipe plus has its own way)")
    add("--weight-decay", "--wd", type=not_negative, default=0.0001, help="L2, on all parameters (%(default)s)")
    add(
        "--theta",
        type=not_negative,
        help="training rotation in radians (0.3, across views 0.5; --recipe plus has its own)",
    )
    add("--seg", type=count, help="segments, the frames drawn from a clip (20; when testing, the checkpoint's)")
    add("--num-classes", type=count, help="outputs of the network (the classes of the data)")
    add("--tensorboard", action="store_true", help="write the log's columns for TensorBoard too, <case>_tensorboard/")
    add("--print-freq", "-p", type=count, default=10, help="steps between updates of the bar's loss (%(default)s)")
    args = parser.parse_args(argv)
    its = args.recipe
    for flag, given, has in (("--theta", args.theta, its.turns), ("--lr-factor", args.lr_factor, its.cosine)):
        if has and given:
            raise UserError(f"{flag} {given}: --recipe {spelling(its)} has its own")
    if args.lr_factor is None and not its.cosine:
        args.lr_factor = 0.1
    return args


ablated = util.told(lambda text: ablations(text.split(",")))  # "joint-type,one-gcn"


def folder_of(args, name):
    """Where the results of a data set of this name go: each recipe's and each ablated network's in its own folder."""
    recipe = () if args.recipe == PAPER else (spelling(args.recipe),)
    ablate = ("+".join(args.ablate),) if args.ablate else ()
    return args.results / name / "-".join((args.network, *recipe, *ablate))


def train_and_test(args, clips, name, theta, folder):
    """One run from its beginning, or from where it was stopped, to its two figures: top-1 of best and last epoch."""
    run = Run(args, clips, name, theta, folder)
    ranks.from_first(lambda: util.sweep(folder))
    if args.resume:
        run.resume()
    else:
        ranks.from_first(run.begin)
    if not run.results:  # else it was finished before
        start = time.perf_counter()
        try:
            run.train()
            ranks.say(f"trained {len(run.rows)} epochs, in {(time.perf_counter() - start) / 60:.1f} minutes now")
            ids = clips.ids("test_")
            last = accuracy(test(run.net, run.clips, ids, args.seed, args.amp), clips.label[ids])
            line, best = test_checkpoint(args, clips, folder)
            lines = [f"last epoch {args.max_epochs}: top-1 {last:.2f}%, {run.recipe.test_draws} draws", line]
            run.results = {"lines": lines, "best": best, "last": last}
            ranks.from_first(run.save)
        except KeyboardInterrupt as stop:
            done = f"{len(run.rows)} of {args.max_epochs} epochs are kept in {folder}"
            raise type(stop)(f"{done}; the same command with --resume goes on") from None
    ranks.say(*run.results["lines"], sep="\n")
    return run.results["best"], run.results["last"]


def runs(args, clips):
    """The runs of a command: for each the name of its folder, its seed, its random split and its clips."""
    seed = 1 if args.seed is None else args.seed
    if args.splits:
        return [(f"split{number}", seed, number, clips.resplit(number)) for number in args.splits]
    if args.seeds:
        return [(f"seed{number}", number, None, clips) for number in args.seeds]
    return [("", seed, None, clips)]


def main(argv=None):
    args = parse_args(argv)
    if args.resume and not args.train:
        raise UserError("--resume: there is nothing to go on with when --train 0 tests")
    if args.seeds and (args.splits or args.seed is not None):
        raise UserError(f"{'--splits' if args.splits else '--seed'} and --seeds: take one of them")
    args.command = " ".join(["main.py", *(sys.argv[1:] if argv is None else argv)])
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    util.keep_memory()
    device = ranks.start(args.device)
    path, name, theta = ranks.from_first(lambda: find(args.dataset, args.case, args.data))
    clips = Clips.read(path, args.cache)
    theta = theta if args.theta is None else args.theta
    classes = len(clips.class_names)
    longest = max(20, int(clips.length.max()))
    if (args.seg or 1) > longest:
        raise UserError(f"--seg {args.seg}: the longest clip has {clips.length.max()} frames; take at most {longest}")
    if (args.num_classes or classes) < classes:
        raise UserError(f"--num-classes {args.num_classes}: the data has {classes} classes")
    if not clips.splits["test_"]:
        raise UserError(f"{args.dataset}: no clips in test_x, nothing to test on")
    clips = clips.to(device)
    if args.train and not theta and args.recipe.varies:
        ranks.say("note: theta is 0: --recipe turns, stretches and shakes nothing", file=sys.stderr)
    elif args.train and args.recipe.mirror and clips.sides() is None:
        ranks.say(f"note: which of {clips.joints} joints are left is not known: nothing is mirrored", file=sys.stderr)
    folder = folder_of(args, name)
    ranks.say(f"{name} case {args.case} ({clips.protocol}): {len(clips.label)} clips, {classes} classes, on {device}")

    figures, planned = [], runs(args, clips)
    kept = (SELECT[args.select], SELECT["last"]) if args.train else ("epochs kept",)
    with contextlib.ExitStack() as held:
        if args.train:
            args.seg = args.seg or 20
            locks = [folder / place / f".{args.case}_lock" for place, *_ in planned]
            ranks.from_first(lambda: [held.enter_context(util.alone(lock)) for lock in locks] and None)
        for place, seed, split, some in planned:
            if place:
                ranks.say(f"{place}:")
            args.split = split
            if args.train:
                args.seed = seed
                figures.append(train_and_test(args, some, name, theta, folder / place))
            else:
                start = time.perf_counter()
                line, top1 = test_checkpoint(args, some, folder / place)
                ranks.say(f"{line}, in {time.perf_counter() - start:.1f} s")
                figures.append((top1,))
    several = "splits" if args.splits else "seeds" if args.seeds else None
    for what, values in zip(kept, zip(*figures, strict=True), strict=True):
        if several:
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            ranks.say(f"{what}: top-1 {statistics.mean(values):.2f} +- {spread:.2f}% over {len(values)} {several}")
    ranks.stop()


if __name__ == "__main__":
    with util.one_clear_line("a smaller --batch-size, --seg or --num-classes"):
        main()
