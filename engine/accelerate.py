"""What may make a training step faster, and is tried first: --compile and --amp. And timings."""

import statistics
import sys
import time
from functools import partial

import torch

from engine.distributed import warn_once


def try_compile(net, example, amp=False):
    """Compiles a network in place and tries a step in its present mode.

    If that fails, a line says so and the network is as before. On a CPU a line also says if it makes a step slower.
    """

    def step():
        with torch.autocast(example.device.type, torch.bfloat16, enabled=amp):
            logits = net(example)
        logits.float().sum().backward()

    state = {name: value.clone() for name, value in net.state_dict().items()}
    (plain,) = timed([step], 2, example.device)
    warn_once("compiling, which takes a minute or two")
    try:
        net.compile()
        (compiled,) = timed([step], 2, example.device)
    except Exception as error:  # whatever a compiler may raise
        net._compiled_call_impl = None
        lines = [line for line in str(error).splitlines() if line.strip() and not line.endswith("raised:")]
        print(f"--compile: failed, continuing without ({lines[0] if lines else error})", file=sys.stderr)
    else:
        if example.device.type == "cpu" and compiled > plain:
            warn_once(f"--compile makes a step slower here: {compiled:.2f} s, and {plain:.2f} s without")
    net.load_state_dict(state)
    net.zero_grad(set_to_none=True)


def check_amp(device):
    """Says so if products in bfloat16, as with --amp, are slower on a device than in float32. Takes milliseconds."""
    pairs = [[torch.ones(n, 256, device=device, dtype=dtype) for n in (512, 256)] for dtype in (None, torch.bfloat16)]
    plain, amp = timed([partial(torch.matmul, *pair) for pair in pairs], 3, device)
    if amp > 1.5 * plain:
        times = f"a product takes {1e3 * amp:.1f} ms in bfloat16 and {1e3 * plain:.1f} ms in float32"
        warn_once(f"--amp makes this slower on this {device.type}: {times}")


def timed(functions, runs, device, warm_up=True, repeat=1):
    """The median seconds of each function, called in turns. repeat: calls in one timing, of which the mean is taken."""

    def time_once(function):
        start = time.perf_counter()
        for _ in range(repeat):
            function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - start) / repeat

    turns = [[time_once(function) for function in functions] for _ in range(runs + warm_up)]
    return [statistics.median(column) for column in zip(*turns[warm_up:], strict=True)]
