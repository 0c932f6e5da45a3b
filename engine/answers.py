"""What testing says of a network: top-1, top-5 and mean-class accuracy in percent, and those of several runs."""

import json
import statistics

from util import UTF8, atomic_write

FIGURES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean-class"}


def accuracy(logits, label):
    """Top-1 in percent."""
    return 100 * (logits.argmax(dim=1) == label).sum().item() / len(label)


def score(logits, label, class_names):
    """{"top1", "top5", "mean_class", "classes": [{"class", "clips", "top1"}]} of logits (n, classes) and labels (n,).

    mean_class is the mean of the classes' top-1; a class without clips has none (None), and is left out. Of five
    classes or fewer there is no top-5.
    """
    right = label[logits.argmax(dim=1) == label]
    counts = (of.bincount(minlength=len(class_names)).cpu().tolist() for of in (label, right))
    classes = [
        {"class": name, "clips": n, "top1": 100 * k / n if n else None}
        for name, n, k in zip(class_names, *counts, strict=True)
    ]
    scores = {"top1": accuracy(logits, label)}
    if len(class_names) > 5:
        scores["top5"] = 100 * (logits.topk(5).indices == label[:, None]).sum().item() / len(label)
    scores["mean_class"] = statistics.mean(one["top1"] for one in classes if one["clips"])
    return scores | {"classes": classes}


def in_words(scores, which=""):
    """ "top-1 91.38%, top-5 99.57%, mean-class 91.20%", as far as they are known. which: "last_" of a run's results."""
    words = [f"{name} {scores[which + key]:.2f}%" for key, name in FIGURES.items() if which + key in scores]
    classes = scores.get("classes", [])
    if (tested := sum(one["clips"] > 0 for one in classes)) < len(classes):
        words[-1] += f" (of the {tested} of {len(classes)} classes that have test clips)"
    return ", ".join(words)


def summarize(results, several, out):
    """Mean and standard deviation over the results of several runs ("seeds" or "splits"), a dict, printed too."""
    summary, over = {}, several if len(results) > 1 else several[:-1]
    for which, what in (("", "selected epoch"), ("last_", "last epoch")):
        words = []
        for key, name in ((which + key, name) for key, name in FIGURES.items()):
            if not all(key in result for result in results):
                continue
            mean, std = mean_and_std([result[key] for result in results])
            summary |= {f"{key}_mean": mean} | ({} if std is None else {f"{key}_std": std})
            words.append(f"{name} {with_spread(mean, std, '+-')}%")
        if words:
            print(f"{what}: {', '.join(words)} over {len(results)} {over}", file=out)
    return summary


def write(content, path):
    """Writes a dict as JSON to a file, or, where path is "-", to standard output."""
    if path == "-":
        print(json.dumps(content))
        return
    with atomic_write(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", **UTF8)


def mean_and_std(values):
    """Of one value there is no standard deviation: None."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def with_spread(mean, std, sign="±"):
    return f"{mean:.2f}" if std is None else f"{mean:.2f} {sign} {std:.2f}"
