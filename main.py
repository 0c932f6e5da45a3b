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
checkpoint of your run if there is one, else the one in pretrained/. The defaults are the release's but for --train,
which is 0 there, and --print-freq, 20.
"""

import os
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

from safe import program
from util import ROOT, UserError, readable, shorten

if __name__ == "__main__":
    program.let_threads_sleep()

from clips.skeletons import STREAMS
from engine import logs, runs
from engine.checkpoint import SELECT, find_checkpoint
from engine.config import DATASETS, RECIPES, choose_recipe, find_h5, find_odd_training, make_config, parse_recipe
from engine.device import check_amp, pick_device
from engine.logs import check_tensorboard
from engine.runs import Options, Run
from model import ABLATIONS, VARIANTS, parse_ablations
from train import test_and_write, test_checkpoint, train_and_test, write_predictions

NAMES = "names for --ablate, one or several with commas between:\n{}\n\nfor --variant:\n{}\n\nfor --stream:\n{}"
# Flags of the release that have no use here
RELEASE_FLAGS = {
    "--workers": "not needed: one tensor holds all clips, and no worker loads them",
    "-j": "not needed: one tensor holds all clips, and no worker loads them",
    "--start-epoch": "--resume continues a run where it was stopped",
}


def parse_args(argv=None):
    tables = ABLATIONS, VARIANTS, STREAMS
    names = NAMES.format(*("\n".join(f"  {name:16}{what}" for name, what in table.items()) for table in tables))
    parser = program.ArgumentParser(description=__doc__, epilog=names, elsewhere=RELEASE_FLAGS)
    add_data(parser.add_argument_group("data and network").add_argument)
    add_training(parser.add_argument_group("training").add_argument)
    add_running(parser.add_argument_group("runs, tests and files").add_argument)
    args = parser.parse_args(argv)
    check(args)
    return args


def add_data(add):
    ablate = program.argument_type(lambda text: parse_ablations(text.split(",")))
    views = "whether test clips are seen from other directions than training clips: sets the rotation, and whether plus"
    add("--network", choices=("SGN",), default="SGN", help="the network (%(default)s)")
    add("--ablate", type=ablate, default=(), metavar="NAME[,NAME]", help="train a network without a part: see the end")
    add("--variant", choices=VARIANTS, help="train a network with another layer: see the end")
    add("--stream", choices=STREAMS, default="joint", help="what the network takes: see the end (%(default)s)")
    add("--dataset", default="NTU", help=f"{', '.join(DATASETS)}, or the path of an .h5 (%(default)s)")
    add("--case", type=int, default=0, help="protocol; of NTU, 0 is cross-subject and 1 cross-view (%(default)s)")
    add("--views", choices=("same", "other"), help=f"{views} flips (that of the case; for an .h5 same)")
    add("--data", type=Path, help="folder of the h5 (the data set's own below data/)")
    add("--cache", action="store_true", help="not needed any more: an h5 is read in seconds")
    add("--seg", type=program.positive_int, help="frames sampled from a clip (20; in testing, the checkpoint's)")
    add("--num-classes", type=program.positive_int, help="outputs of the network (the data's classes)")


def add_training(add):
    recipe = program.argument_type(lambda text: parse_recipe(text) and text)
    epochs = ("--epochs", "--max-epochs", "--max-epoches")
    select = "epoch to select: best on the test set, as in the release; best on 5%% of the training clips; or the last"
    steps = "factor of the learning rate after 1/2, 3/4 and 11/12 of the epochs: 60, 90 and 110 of 120"
    add("--train", type=int, choices=(0, 1), default=1, help="1: train, then test; 0: only test (%(default)s)")
    names = " or ".join(RECIPES)
    how = f"how to train and test: {names}, perhaps with changed values, as in plus,noise=0 (paper)"
    add("--recipe", type=recipe, default="paper", metavar="NAME[,VALUE=X]", help=how)
    add(*epochs, type=program.positive_int, default=120, help="epochs of training (%(default)s)")
    add("--batch-size", "-b", type=program.positive_int, default=64, help="clips in a training step (%(default)s)")
    add("--lr", type=program.positive_float, default=0.001, help="initial learning rate (%(default)s)")
    add("--lr-factor", type=program.fraction, help=f"{steps} (0.1; --recipe plus has its own schedule)")
    add("--weight-decay", "--wd", type=program.nonnegative_float, default=1e-4, help="L2, all parameters (%(default)s)")
    balanced = "let all classes count alike in the loss, however many training clips each has"
    add("--class-weights", choices=("balanced",), help=balanced)
    theta = "training rotation, radians (0.3, with --views other 0.5; --recipe plus has its own)"
    add("--theta", type=program.nonnegative_float, help=theta)
    add("--select", choices=tuple(SELECT), default="test", help=f"{select} (%(default)s)")
    monitor = "figure by which an epoch is the best (%(default)s)"
    add("--monitor", choices=("val_acc", "val_loss"), default="val_acc", help=monitor)
    add("--init", metavar="CHECKPOINT", help="fine-tune: start from its weights (docs/training.md)")
    add("--freeze", action="store_true", help="with --init: train the last layer alone")
    add("--amp", action="store_true", help="matrix products in bfloat16, in training and testing")
    add("--tf32", action="store_true", help="on a GPU, products of float32 in TF32, in training and testing")
    add("--compile", action="store_true", help="torch.compile the network for training, if that works")
    add("--deterministic", action="store_true", help="on a GPU, use only kernels that always give the same bits")


def add_running(add):
    add("--device", help="cpu, cuda, cuda:1, ... (cuda if there is a GPU, else cpu)")
    add("--seed", type=program.seed, help="of all randomness (1; in testing, the checkpoint's)")
    add("--seeds", type=program.seed_list, help="several runs: 5 for seeds 1 to 5, or 4,7 for these two")
    splits = "a run for each random split of the h5 (SYSU): 30 for 1 to 30, or 4,7"
    add("--splits", type=program.seed_list, help=splits)
    add("--jobs", type=program.positive_int, default=1, help="runs of --seeds or --splits at a time (%(default)s)")
    add("--resume", action="store_true", help="continue where a run was stopped; start if there is none")
    together = "with --train 0: test these checkpoints together, averaging their softmax scores"
    add("--ensemble", type=Path, nargs="+", metavar="FILE.pth", help=together)
    add("--weights", type=program.number_list, metavar="X,X", help="weights of those checkpoints (1 each)")
    add("--results", type=Path, default=ROOT / "results", help="folder for the results (results/)")
    add("--tensorboard", action="store_true", help="also write the log for TensorBoard, to <case>_tensorboard/")
    add("--print-freq", "-p", type=program.positive_int, default=10, help="steps between losses shown (%(default)s)")
    what = "write the results, and each class's, to FILE as JSON; without FILE print them, all else to standard error"
    add("--json", nargs="?", const="-", metavar="FILE", help=what)


def check(args):
    """Raises UserError for flags that do not go together."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError("torchrun: a run has one process; start main.py by itself, with --jobs for several")
    if (args.resume or args.class_weights) and not args.train:
        raise UserError("--resume, --class-weights: these are for training; leave out --train 0")
    if args.ensemble and (args.train or args.seeds or args.splits):
        raise UserError("--ensemble: tests checkpoints, with --train 0 and without --seeds and --splits")
    if args.weights and not args.ensemble:
        raise UserError("--weights: only with --ensemble")
    if args.jobs > 1 and not (args.train and (args.seeds or args.splits)):
        raise UserError("--jobs: only for the runs of --seeds or --splits")
    if args.freeze and not args.init:
        raise UserError("--freeze trains the last layer of a checkpoint: give one with --init")
    if args.seeds and (args.splits or args.seed is not None):
        raise UserError(f"--seeds and {'--splits' if args.splits else '--seed'}: take one of them")
    if args.tensorboard:
        check_tensorboard()
    choose_recipe(args)


def warn(config, clips):
    """Lines about what is odd about these data, and what the recipe cannot do with them."""
    for line in find_odd_training(clips):
        program.note(line)
    if not clips.spatial:
        program.note(f"the axes are {clips.axes}: clips are not rotated, scaled or given noise")
    if config.recipe.flip and clips.flip_pairs() is None:
        program.note("the h5 does not state its skeleton (docs/data.md): clips are not flipped")


def plan(args, config, init, h5, data_sha256):
    """The runs of a command line on the clips of that digest."""
    home, data = args.results / config.dataset / config.folder, (h5, data_sha256)
    kind, numbers = ("split", args.splits) if args.splits else ("seed", args.seeds or [])
    several = [Run(f"{kind}{n}", replace(config, **{kind: n}), home / f"{kind}{n}", *data, init) for n in numbers]
    return several or [Run("", config, home, *data, init)]


def make_options(args, device, command):
    return Options(device, command, args.resume, args.print_freq, args.tensorboard)


def test(args, run, clips, out):
    """Tests the checkpoint of a run: the results, a dict."""
    config, start = run.config, time.perf_counter()
    path = run.folder / f"{config.case}_best.pth"
    if not run.title:
        path = find_checkpoint(args.results, config.dataset, config.folder, config.case)
    clips = clips.resplit(config.split)
    checkpoint, scores = test_and_write(path, config, clips, run.folder, args.seed)
    samples = f"{config.recipe.test_samples} samples of each of the {len(clips.splits['test'])} test clips"
    result = f"epoch {checkpoint.epoch} ({checkpoint.selected}): {logs.in_words(scores)}, {samples}"
    title = [f"{run.title}:"] * bool(run.title)
    print(*title, readable(f"checkpoint {os.path.relpath(path)}"), result, sep="\n", file=out)
    program.note(f"tested in {time.perf_counter() - start:.1f} s")
    seed = checkpoint.seed if args.seed is None else args.seed
    return {"epoch": checkpoint.epoch, "selected": checkpoint.selected, "seed": seed, "checkpoint": str(path)} | scores


def test_together(args, config, clips, out):
    """Tests the checkpoints of --ensemble: the results, a dict."""
    from engine import ensemble

    checkpoints, weights = ensemble.read_members(args.ensemble, args.weights, clips)
    logits, labels = zip(*(test_checkpoint(c, clips, args.seed, args.amp) for c in checkpoints), strict=True)
    mean, label = ensemble.add_scores(logits, weights), labels[0]
    folder = args.results / config.dataset / "ensemble"
    write_predictions(folder, args.case, label, mean)
    result = ensemble.score_all(checkpoints, logits, mean, label, clips.class_names)
    print(*map(readable, ensemble.lines(result, len(label))), sep="\n", file=out)
    return result


def main(argv=None):
    args = parse_args(argv)
    command = shlex.join(["main.py", *(sys.argv[1:] if argv is None else argv)])
    out = sys.stderr if args.json == "-" else sys.stdout
    device = pick_device(args.device)
    path, name = find_h5(args.dataset, args.case, args.data)
    if args.cache:
        program.note("--cache is not needed any more; a .packed.pt beside the h5 can go")
    clips = runs.read_clips(path, device)
    init = digest = None
    if args.init and args.train:
        from engine import finetune

        init, digest = finetune.read_init(args.init)
    config = make_config(args, clips, name, init, digest)
    about = f"{len(clips.label)} clips, {len(clips.class_names)} classes, skeleton {clips.skeleton.name}, on {device}"
    print(readable(f"{name} case {args.case} ({shorten(clips.protocol, 80)}): {about}"), file=out)
    if config.amp:
        check_amp(device)
    todo = plan(args, config, init, path, clips.sha256)
    if init:
        finetune.report(init, clips, todo)
    if args.train:
        warn(config, clips)
        results = list(runs.run_all(todo, make_options(args, device, command), train_and_test, args.jobs, out))
    elif args.ensemble:
        runs.prepare(config)
        results = [test_together(args, config, clips, out)]
    else:
        runs.prepare(config)
        results = [test(args, run, clips, out) for run in todo]
    several = "splits" if args.splits else "seeds" if args.seeds else None
    summary = logs.summarize(results, several, out) if several else {}
    if args.json:
        about = {"dataset": name, "case": args.case, "network": config.folder, "data_sha256": clips.sha256}
        content = about | ({"runs": results} | summary if summary else results[0])
        logs.write_json(content, args.json)


if __name__ == "__main__":
    with program.exit_on_error("--batch-size, --seg or --num-classes"):
        main()
