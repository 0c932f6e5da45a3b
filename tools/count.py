"""Counts SGN's parameters and multiply-adds, layer by layer, in three ways to compute the same logits.

    python tools/count.py                                   # 60 classes, one clip
    python tools/count.py --clips 64 --json cost.json

The release's formulation (plain.Plain) does everything for every clip. The module (model.SGN) does once what is
the same for all clips of a batch, so that its share of a clip falls with the batch. The folded form (folded.Folded) has
that, and the batch norms, in its constants. Counted are the multiply-adds of matrix products and convolutions, by
torch's own formulas (torch.utils.flop_counter); norms, activations, softmax and pooling are not, as is usual. The
parameters are checked against the paper's 0.69M, and the release's multiply-adds against the 0.17 G a clip that go
with them; of which the layers alone make up 0.17 G, and the graph's products, which counters of layers pass by, 0.01.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

import _path

import util
from folded import Folded
from model import SGN
from plain import Plain

PARAMETERS = {60: 691_048, 120: 721_828}  # by classes, of 25 joints and 20 segments
GMAC = 0.17  # a clip, of 60 classes
GRAPH = "graph products"  # G, and G x, where they are in no layer: products of two activations


def count(net, clips=1):
    """The parameters and multiply-adds of one forward pass of `clips` clips, layer by layer.

    net: an SGN or a plain.Plain, whose layers are the children of SGN, or a Folded, whose layers are its constants,
    by the first part of their names. Returns [{"layer": str, "parameters": int, "multiply_adds": int}, ...], the sums
    of which are the totals; a constant's values count as parameters.
    """
    inner = getattr(net, "net", net)  # Plain computes with the layers of an SGN
    values = [*inner.named_parameters()]
    folded = not values
    values = values or [*inner.named_buffers()]
    x = torch.zeros(clips, inner.seg, 3 * inner.num_joint).to(values[0][1])
    multiply_adds = _by_constant(net, x) if folded else _by_module(net, inner, x)
    parameters = Counter()
    for name, value in values:
        parameters[_layer(name)] += value.numel()
    rows = [*parameters] + [GRAPH] * (multiply_adds[GRAPH] > 0)
    return [{"layer": row, "parameters": parameters[row], "multiply_adds": multiply_adds[row]} for row in rows]


def _layer(name):
    """Of a parameter joint_embed.cnn.1.cnn.weight its layer joint_embed; of a constant gcn1_w of Folded, gcn1."""
    return name.split(".")[0] if "." in name else name.split("_")[0]


@torch.no_grad()
def _by_module(net, inner, x):
    with FlopCounterMode(display=False) as counter:
        net(x)
    flops = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    found, root = Counter(), type(net).__name__ + ".net" * (inner is not net)
    for layer, _ in inner.named_children():
        # A module's figure has those of the modules that it calls in it; some are called past the one around them
        within = [name for name in flops if f"{name}.".startswith(f"{root}.{layer}.")]
        outermost = [name for name in within if not any(name.startswith(f"{other}.") for other in within)]
        found[layer] = sum(flops[name] for name in outermost) // 2
    found[GRAPH] = counter.get_total_flops() // 2 - found.total()
    return found


@torch.no_grad()
def _by_constant(net, x):
    owner = {value.untyped_storage().data_ptr(): _layer(name) for name, value in net.named_buffers()}
    found = Counter()

    class Attribute(TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            out = op(*args, **(kwargs or {}))
            if op.overloadpacket in flop_registry:
                storages = [value.untyped_storage().data_ptr() for value in args if isinstance(value, torch.Tensor)]
                layer = next((owner[storage] for storage in storages if storage in owner), GRAPH)
                found[layer] += flop_registry[op.overloadpacket](*args, **(kwargs or {}), out_val=out) // 2
            return out

    with Attribute():
        net(x)
    return found


def total(rows, key):
    return sum(row[key] for row in rows)


def report(net, clips=1):
    """Prints the three tables of an SGN in evaluation mode, and checks them where the figures are published.

    Returns {"the release's formulation": rows, "the module": rows, "the folded form": rows}, rows as of `count`.
    Raises RuntimeError if a figure is not the published one.
    """
    forms = {"the release's formulation": Plain(net, clips), "the module": net, "the folded form": Folded(net)}
    counts = {name: count(form, clips) for name, form in forms.items()}
    batch = "one clip" if clips == 1 else f"{clips} clips"
    for name, rows in counts.items():
        sums = {"layer": "total", **{key: total(rows, key) for key in ("parameters", "multiply_adds")}}
        print(f"\n{name + ', ' + batch:40}{'parameters':>12}{'multiply-adds':>16}")
        for row in [*rows, sums]:
            print(f"  {row['layer']:38}{row['parameters']:12,}{row['multiply_adds']:16,}")
        each = sums["multiply_adds"] / clips / 1e9
        print(f"  {'= GMAC a clip':38}{each:28.4f}")
    plain = counts["the release's formulation"]
    published = PARAMETERS.get(net.num_classes) if (net.num_joint, net.seg) == (25, 20) else None
    if published is None:
        print("\nnothing is published for these classes, joints and segments: nothing to check against")
        return counts
    if total(plain, "parameters") != published:
        raise RuntimeError(f"{total(plain, 'parameters'):,} parameters, published are {published:,}")
    layers = sum(row["multiply_adds"] for row in plain if row["layer"] != GRAPH) / clips / 1e9
    if round(layers, 2) != GMAC:
        raise RuntimeError(f"{layers:.4f} GMAC a clip in the release's layers, published are about {GMAC}")
    said = f"{published:,} parameters, and in the release's layers {layers:.4f} GMAC a clip (about {GMAC})"
    print(f"\nas published: {said}")
    return counts


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--clips", type=util.positive_int, default=1, help="clips in the batch (%(default)s)")
    add("--num-classes", type=util.positive_int, default=60, help="(%(default)s)")
    add("--num-joint", type=util.positive_int, default=25, help="(%(default)s)")
    add("--seg", type=util.positive_int, default=20, help="(%(default)s)")
    add("--json", type=Path, help="file to write the counts to as well")
    args = parser.parse_args(argv)
    net = SGN(args.num_classes, args.num_joint, args.seg).eval()
    settings = {key: value for key, value in vars(args).items() if key != "json"}
    counts = report(net, args.clips)
    if args.json:
        with util.atomic_write(args.json) as part:
            part.write_text(json.dumps({"settings": settings, "counts": counts}, indent=1) + "\n")


if __name__ == "__main__":
    with util.exit_on_error():
        main()
