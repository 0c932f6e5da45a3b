"""Trains and tests SGN.

    python main.py --dataset DEMO --epochs 30                   # without any data: makes the demo set first
    python main.py --network SGN --train 1 --case 0             # NTU RGB+D cross-subject: trains, then tests
    python main.py --network SGN --train 1 --case 1 --resume    # cross-view; continues where it was stopped
    python main.py --network SGN --train 0 --case 0             # tests the checkpoint
    python main.py --dataset NUCLA --seeds 5                    # five runs, with mean and standard deviation
    python main.py --dataset SYSU --splits 30                   # a run for each of thirty random splits
    python main.py --dataset NUCLA --recipe plus -b 16          # same network, better accuracy than the paper's recipe
    python main.py --dataset NUCLA --ablate joint-type          # the network without its joint type
    python main.py --dataset mine.h5 --init a.pth --freeze      # from a checkpoint's weights, the last layer alone

Writes results/<dataset>/<network>/: <case>_best.pth, <case>_log.csv, <case>_lable.txt and <case>_pred.txt (labels and
averaged logits of the test clips, a line each), and <case>_state.pth, from which --resume continues. Runs of --seeds
and --splits have folders seed<n>/ and split<n>/ there. Another recipe, an ablated or a fine-tuned network has a folder
of its own: SGN-plus, SGN-plus,noise=0, SGN-joint-type+one-gcn, SGN-init, SGN-init-freeze. --train 0 tests the
checkpoint of your run if there is one, else the one in pretrained/. The defaults are the release's.
"""

import json
import os
import shlex
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path

import util
from util import UserError, nonnegative_float, positive_float, positive_int

if __name__ == "__main__":
    util.handle_early_interrupt()
import torch

import distributed
import finetune
from checkpoint import SELECT, find_checkpoint
from data import DATASETS, Clips, find_h5, theta_of
from distributed import print_once, warn_once
from evaluate import accuracy, evaluate_and_write, test_logits
from model import ABLATIONS, parse_ablations
from recipes import PAPER, RECIPES, Config, parse_recipe
from train import Trainer


def parse_args(argv=None):
    ablations = "\n".join(f"  {name:16}{what}" for name, what in ABLATIONS.items())
    parser = util.ArgumentParser(
        description=__doc__, epilog=f"names for --ablate, one or several with commas between:\n{ablations}"
    )
    add = parser.add_argument
    add("--network", choices=("SGN",), default="SGN", help="the network (%(default)s)")
    names = " or ".join(RECIPES)
    add(
        "--recipe",
        type=util.argument_type(parse_recipe),
        default=PAPER,
        metavar="NAME[,VALUE=X]",
        help=f"how to train and test: {names}, perhaps with changed values, as in plus,noise=0 (paper)",
    )
    ablate = util.argument_type(lambda text: parse_ablations(text.split(",")))
    add("--ablate", type=ablate, default=(), metavar="NAME[,NAME]", help="train a network without a part: see the end")
    add("--dataset", default="NTU", help=f"{', '.join(DATASETS)}, or the path of an .h5 (%(default)s)")
    add("--case", type=int, default=0, help="protocol; of NTU, 0 is cross-subject and 1 cross-view (%(default)s)")
    add("--train", type=int, choices=(0, 1), default=1, help="1: train, then test; 0: test the checkpoint")
    add("--data", type=Path, help="folder of the h5 (the data set's own below data/)")
    add("--cache", action="store_true", help="keep the packed clips beside the h5, for a faster start")
    add("--results", type=Path, default=util.ROOT / "results", help="folder for the results (results/)")
    add("--device", help="cpu, cuda, cuda:1, ... (cuda if there is a GPU, else cpu)")
    add("--seed", type=util.seed, help="of all randomness (1; in testing, the checkpoint's)")
    add("--seeds", type=util.seed_list, help="several runs: 5 for seeds 1 to 5, or 4,7 for these two")
    add("--splits", type=util.seed_list, help="a run for each random split of the h5 (SYSU): 30 for 1 to 30, or 4,7")
    add("--resume", action="store_true", help="continue where a run was stopped; start if there is none")
    add("--deterministic", action="store_true", help="on a GPU, use only kernels that always give the same bits")
    select = "epoch to select: best on the test set, as in the release; best on 5%% of the training clips; or the last"
    add("--select", choices=tuple(SELECT), default="test", help=f"{select} (%(default)s)")
    add("--monitor", choices=("val_acc", "val_loss"), default="val_acc", help="what makes it the best (%(default)s)")
    add("--amp", action="store_true", help="matrix products in bfloat16, in training and testing")
    add("--compile", action="store_true", help="torch.compile the network for training, if that works")
    epochs = ("--epochs", "--max-epochs", "--max-epoches")
    add(*epochs, type=positive_int, default=120, help="epochs of training (%(default)s)")
    add("--batch-size", "-b", type=positive_int, default=64, help="clips in a training step (%(default)s)")
    add("--lr", type=positive_float, default=0.001, help="initial learning rate (%(default)s)")
    steps = "factor of the learning rate after 1/2, 3/4 and 11/12 of the epochs: 60, 90 and 110 of 120"
    add("--lr-factor", type=util.fraction, help=f"{steps} (0.1; --recipe plus has its own schedule)")
    add("--weight-decay", "--wd", type=nonnegative_float, default=0.0001, help="L2, on all parameters (%(default)s)")
    theta = "training rotation, radians (0.3; across views 0.5; --recipe plus has its own)"
    add("--theta", type=nonnegative_float, help=theta)
    add("--seg", type=positive_int, help="segments: frames sampled from a clip (20; in testing, the checkpoint's)")
    add("--num-classes", type=positive_int, help="outputs of the network (the data's classes)")
    add("--init", metavar="CHECKPOINT", help="fine-tune: start from its weights (docs/finetuning.md)")
    add("--freeze", action="store_true", help="with --init: train the last layer alone")
    add("--tensorboard", action="store_true", help="also write the log for TensorBoard, to <case>_tensorboard/")
    add("--print-freq", "-p", type=positive_int, default=10, help="steps between updates of the progress bar's loss")
    add("--json", action="store_true", help="print the result as one JSON object, and all else to standard error")
    args = parser.parse_args(argv)
    for flag, value, own in (
        ("--theta", args.theta, args.recipe.has_rotation),
        ("--lr-factor", args.lr_factor, args.recipe.cosine),
    ):
        if own and value is not None:
            raise UserError(f"{flag} {value}: --recipe {args.recipe.name} has its own")
    if args.resume and not args.train:
        raise UserError("--resume continues training: leave out --train 0")
    if args.freeze and not args.init:
        raise UserError("--freeze trains the last layer of a checkpoint: give one with --init")
    if args.seeds and (args.splits or args.seed is not None):
        raise UserError(f"--seeds and {'--splits' if args.splits else '--seed'}: take one of them")
    return args


def make_config(args):
    """The Config of a command line, before the data are known."""
    lr_factor = args.lr_factor if args.lr_factor or args.recipe.cosine else 0.1
    values = vars(args) | {"lr_factor": lr_factor, "seed": 1 if args.seed is None else args.seed}
    return Config(**{field.name: values[field.name] for field in fields(Config) if field.name in values})


def complete(config, clips, name, theta):
    """The Config with what the data decide: name of the data set, its rotation, and classes. Raises UserError."""
    classes, longest = len(clips.class_names), max(20, int(clips.length.max()))
    if (config.seg or 1) > longest:
        raise UserError(f"--seg {config.seg}: the longest clip has {clips.length.max()} frames; at most {longest}")
    if (config.num_classes or classes) < classes:
        raise UserError(f"--num-classes {config.num_classes}: the data has {classes} classes")
    if not clips.splits["test"]:
        raise UserError(f"{config.dataset}: no clips in test_x, so nothing to test on")
    theta = theta if config.theta is None else config.theta
    theta = None if config.recipe.has_rotation else theta * clips.spatial
    return replace(config, dataset=name, theta=theta, num_classes=config.num_classes or classes)


def warn(config, clips):
    """Lines about what the recipe cannot do with these data."""
    if not clips.spatial:
        warn_once(f"the axes are {clips.axes}: clips are not rotated, scaled or given noise")
    if config.recipe.flip and clips.flip_pairs() is None:
        warn_once("the h5 does not state its skeleton (docs/data.md): clips are not flipped")


def train_and_test(args, config, clips, folder, init=None):
    """One run from its start, or from where it was stopped, to its results, a dict. init: the Checkpoint of --init."""
    config = replace(config, seg=config.seg or 20)
    trainer = Trainer(config, clips, folder, args.command, args.print_freq, args.tensorboard, init)
    distributed.run_on_main(lambda: util.remove_stale_parts(folder, f"{config.case}_"))
    if args.resume:
        trainer.resume()
    else:
        distributed.run_on_main(trainer.start_anew)
    best = trainer.file("best.pth")
    if not trainer.results:
        start = time.perf_counter()
        try:
            trainer.train()
            warn_once(
                f"trained {len(trainer.log)} epochs, {(time.perf_counter() - start) / 60:.1f} minutes in this run"
            )
            ids = clips.ids("test")
            logits = test_logits(trainer.net, clips, ids, config.recipe, config.seed, config.amp)
            checkpoint, top1 = evaluate_and_write(best, trainer.config, clips, folder)
            trainer.results = {
                "epoch": checkpoint.epoch,
                "selected": checkpoint.selected,
                "top1": top1,
                "last_top1": accuracy(logits, clips.label[ids]),
            }
            distributed.run_on_main(trainer.save)
        except KeyboardInterrupt as interrupt:
            done = f"{len(trainer.log)} of {config.epochs} epochs are in {folder}"
            raise type(interrupt)(f"{done}; the same command with --resume continues") from None
    print_once(*trainer.summary(), sep="\n", file=args.out)
    return trainer.results | {"seed": config.seed, "checkpoint": str(best)}


def test(args, config, clips, path, folder):
    """Tests a checkpoint: the results, a dict."""
    start = time.perf_counter()
    checkpoint, top1 = evaluate_and_write(path, config, clips, folder, args.seed)
    samples = f"{config.recipe.test_samples} samples of each of the {len(clips.splits['test'])} test clips"
    print_once(f"checkpoint {os.path.relpath(path)}", file=args.out)
    print_once(f"epoch {checkpoint.epoch} ({checkpoint.selected}): top-1 {top1:.2f}%, {samples}", file=args.out)
    warn_once(f"tested in {time.perf_counter() - start:.1f} s")
    seed = checkpoint.seed if args.seed is None else args.seed
    return {"epoch": checkpoint.epoch, "selected": checkpoint.selected, "top1": top1} | {
        "seed": seed,
        "checkpoint": str(path),
    }


def plan(args, config, clips):
    """The runs of a command line: [(folder's name, its Config, its clips)]."""
    if args.splits:
        return [(f"split{n}", replace(config, split=n), clips.resplit(n)) for n in args.splits]
    if args.seeds:
        return [(f"seed{n}", replace(config, seed=n), clips) for n in args.seeds]
    return [("", config, clips)]


def summarize(args, runs):
    """Mean and standard deviation over runs, a dict, printed too."""
    summary, several = {}, "splits" if args.splits else "seeds"
    for key, what in (("top1", "selected epoch"), ("last_top1", "last epoch")):
        if key in runs[0]:
            values = [run[key] for run in runs]
            mean, std = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
            summary |= {f"{key}_mean": mean, f"{key}_std": std}
            print_once(f"{what}: top-1 {mean:.2f} +- {std:.2f}% over {len(runs)} {several}", file=args.out)
    return summary


def main(argv=None):
    args = parse_args(argv)
    args.command = shlex.join(["main.py", *(sys.argv[1:] if argv is None else argv)])
    args.out = sys.stderr if args.json else sys.stdout
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    util.keep_freed_memory()
    device = distributed.init(args.device)
    path, name, dataset = distributed.run_on_main(lambda: find_h5(args.dataset, args.case, args.data))
    clips = Clips.read(path, args.cache).to(device)
    config, init = make_config(args), None
    if args.train and args.init:
        config, init = finetune.read_init(config, clips)
    config = complete(config, clips, name, theta_of(dataset, args.case))
    protocol = util.shorten(clips.protocol, 80)
    about = f"{len(clips.label)} clips, {len(clips.class_names)} classes, skeleton {clips.skeleton.name}, on {device}"
    print_once(f"{name} case {args.case} ({protocol}): {about}", file=args.out)
    runs, home = plan(args, config, clips), args.results / name / config.folder
    if args.train:
        warn(config, clips)
    if init:
        files = [home / place / f"{args.case}_best.pth" for place, *_ in runs]
        finetune.report(init, clips.class_names, [config for _, config, _ in runs], files)

    results = []
    with ExitStack() as locks:
        if args.train:

            def lock():
                for place, *_ in runs:
                    locks.enter_context(util.exclusive_lock(home / place / f".{args.case}_lock"))

            distributed.run_on_main(lock)
        for place, run_config, run_clips in runs:
            if place:
                print_once(f"{place}:", file=args.out)
            if args.train:
                result = train_and_test(args, run_config, run_clips, home / place, init)
            else:
                best = home / place / f"{args.case}_best.pth"
                best = best if place else find_checkpoint(args.results, name, config.folder, args.case)
                result = test(args, run_config, run_clips, best, home / place)
            results.append(result)
    summary = summarize(args, results) if len(runs) > 1 or args.seeds or args.splits else {}
    if args.json:
        about = {"dataset": name, "case": args.case, "network": config.folder, "data_sha256": clips.sha256}
        print_once(json.dumps(about | ({"runs": results} | summary if summary else results[0])))
    distributed.shutdown()


if __name__ == "__main__":
    with util.exit_on_error("--batch-size, --seg or --num-classes"):
        main()
