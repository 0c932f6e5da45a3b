"""How a training step is carried out, over several processes, compiled, as a CUDA graph, or plainly; and timings."""

import statistics
import sys
import time

import torch
from torch.nn.parallel import DistributedDataParallel

from engine import distributed, graphed


def training_step(trainer):
    """The function that takes a step of a train.Trainer on a batch, and returns loss and number of correct clips."""
    config = trainer.config
    if distributed.world_size() > 1 and trainer.device.type == "cuda":  # PyTorch has no SyncBatchNorm on CPUs
        trainer.net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(trainer.net)
    trainer.net.train(not config.freeze)
    if config.compile:
        ids = trainer.train_ids[distributed.shard(config.batch_size)]
        try_compile(trainer.net, trainer.clips.sample(ids, trainer.rng, config.seg), config.amp)
    forward = DistributedDataParallel(trainer.net) if distributed.world_size() > 1 else trainer.net
    graph = graphed.graph_step(trainer, forward) if graphed.is_wanted(trainer, forward) else None
    return graph or (lambda batch: trainer.train_step(forward, batch))


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
    distributed.warn_once("compiling, which takes a minute or two")
    try:
        net.compile()
        (compiled,) = timed([step], 2, example.device)
    except Exception as error:  # whatever a compiler may raise
        net._compiled_call_impl = None
        lines = [line for line in str(error).splitlines() if line.strip() and not line.endswith("raised:")]
        print(f"--compile: failed, continuing without ({lines[0] if lines else error})", file=sys.stderr)
    else:
        if example.device.type == "cpu" and compiled > plain:
            distributed.warn_once(f"--compile makes a step slower here: {compiled:.2f} s, and {plain:.2f} s without")
    net.load_state_dict(state)
    net.zero_grad(set_to_none=True)


def check_amp(device):
    """Says so if products in bfloat16, as with --amp, are slower on a device than in float32. Takes milliseconds."""
    pairs = [[torch.ones(n, 256, device=device, dtype=dtype) for n in (512, 256)] for dtype in (None, torch.bfloat16)]
    plain, amp = timed([lambda a=a, b=b: a @ b for a, b in pairs], 3, device)
    if amp > 1.5 * plain:
        times = f"a product takes {1e3 * amp:.1f} ms in bfloat16 and {1e3 * plain:.1f} ms in float32"
        distributed.warn_once(f"--amp makes this slower on this {device.type}: {times}")


def timed(functions, runs, device, warm_up=True, repeat=1):
    """The median seconds of each function, called in turns. repeat: calls in one timing, of which the mean is taken."""

    def time_once(function):
        start = time.perf_counter()
        for _ in range(repeat):
            function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - start) / repeat

    for function in functions if warm_up else ():
        time_once(function)
    turns = [[time_once(function) for function in functions] for _ in range(runs)]
    return [statistics.median(column) for column in zip(*turns, strict=True)]
