"""What SGN costs on any machine: parameters and multiply-adds. benchmarks/benchmark.py --count prints it."""

import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from engine.folded import Folded
from model import SGN
from release import Release

PARAMETERS = {60: 691_048, 120: 721_828}  # of the release's network, by classes
GMAC = 0.17  # a clip, without the products that make and use G
BATCH = 64


@torch.no_grad()
def count_products(net):
    """Prints parameters and multiply-adds (of matrix products and convolutions). Returns them as dicts.

    Raises UserError if the release's formulation does not have the published numbers.
    """
    print(f"{'':28}{'parameters':>12}{'GMAC, one clip':>16}{'a clip of 64':>14}{'without G':>11}")
    rows = []
    for name, form in (
        ("the release's formulation", lambda clips: Release(net, clips)),
        ("the module", lambda clips: net),
        ("the folded form", lambda clips: Folded(net)),
    ):
        total, layers = {}, {}
        for clips in (1, BATCH):
            network = form(clips)
            with FlopCounterMode(display=False) as counter:
                network(torch.zeros(clips, net.seg, 3 * net.num_joint))
            flops = {str(op).split(".")[-1]: value for op, value in counter.get_flop_counts()["Global"].items()}
            total[clips] = sum(flops.values()) / 2e9 / clips
            layers[clips] = total[clips] - (flops.get("bmm", 0) + flops.get("baddbmm", 0)) / 2e9 / clips
        parameters = sum(p.numel() for p in net.parameters())
        if name == "the folded form":
            parameters = sum(buffer.numel() for buffer in form(1).buffers())
        print(f"{name:28}{parameters:12,}{total[1]:16.4f}{total[BATCH]:14.4f}{layers[BATCH]:11.4f}")
        rows.append({"form": name, "parameters": parameters, "gmac": total, "gmac_without_graph": layers})
    counts = {classes: sum(p.numel() for p in SGN(classes).parameters()) for classes in PARAMETERS}
    if counts != PARAMETERS or round(rows[0]["gmac_without_graph"][1], 2) != GMAC:
        raise util.UserError(f"not the published numbers: {PARAMETERS} parameters by classes, {GMAC} GMAC a clip")
    known = ", ".join(f"{number:,} parameters with {classes} classes" for classes, number in PARAMETERS.items())
    print(f"as published: {known}, and {GMAC} GMAC a clip without G")
    return rows
