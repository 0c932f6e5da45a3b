"""Where a run computes: on which device, in how many processes of torchrun (NCCL on GPUs, gloo on CPUs), in which way.

    torchrun --nproc_per_node 2 main.py --dataset NUCLA

Every process holds the same clips, weights and random generators, and takes its share of each batch. Only the main
process writes and prints. In a single process these functions work too, and do nothing.
"""

import ctypes
import os
from contextlib import suppress
from functools import partial

import torch
from torch import distributed as dist

from safe.program import note
from util import UserError, readable, shorten

# What torchrun sets for each process
VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
CPU_BATCH = 8  # clips that a CPU computes at a time: what is between two layers then fits into its caches


def init(device=None):
    """Joins the processes of torchrun, if there are any. Returns the torch.device of this one, as `pick_device`; of
    several processes on GPUs each gets its own. Raises UserError."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return pick_device(device)
    if missing := [name for name in VARIABLES if not os.environ.get(name)]:
        raise UserError(f"WORLD_SIZE is set, but {missing[0]} is not: start several processes with torchrun")
    if (device or "cuda").startswith("cuda") and torch.cuda.is_available():
        local_rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if device not in (None, "cuda") or local_rank >= gpus:
            raise UserError(f"--device {device or 'cuda'}: torchrun gives each process a GPU; there are {gpus}")
        torch.cuda.set_device(local_rank)  # first, or every process takes memory on GPU 0
        device = f"cuda:{local_rank}"
    device = pick_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def use_tf32(on):
    """Whether GPUs may round the factors of float32 products to TF32's 10 bits. PyTorch's own default is no in matrix
    products and yes in convolutions. After this, the older of its two interfaces, both can be asked."""
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


def pick_device(name=None):
    """The torch.device of that name; by default CUDA if there is a GPU, else the CPU. Raises UserError. From then on
    float32 means float32, until `use_tf32`."""
    use_tf32(False)
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.backends.cuda.is_built():
        raise UserError(f"--device {shorten(name)}: this PyTorch ({torch.__version__}) is built for the CPU only")
    try:
        device = torch.device(name)
        torch.rand(1, generator=torch.Generator(device), device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {shorten(name)}: not available ({shorten(error, 150)})") from None
    return device


def shutdown():
    """Waits for the other processes, then leaves the group."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def world_size():
    return dist.get_world_size() if dist.is_initialized() else 1


def rank():
    return dist.get_rank() if dist.is_initialized() else 0


def is_main_process():
    return rank() == 0


def print_once(*values, **kwargs):
    """print, in the main process only, of texts of a line each."""
    if is_main_process():
        print(*map(readable, values), **kwargs)


def warn_once(message):
    """A line on standard error, from the main process only."""
    if is_main_process():
        note(message)


def shard(n):
    """This process's share of n items, as a slice. Shares are contiguous and differ by one item at most."""
    return slice(n * rank() // world_size(), n * (rank() + 1) // world_size())


def all_reduce_sum(tensor):
    """The sum of the processes' tensors, which have the same shape."""
    if dist.is_initialized():
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


def broadcast(tensors):
    """Overwrites tensors, such as batch-norm statistics, with those of the main process."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def run_on_main(function):
    """Calls function() in the main process only and returns its result in all. If it raises, all processes end."""
    if not dist.is_initialized():
        return function()
    result = error = None
    if is_main_process():
        try:
            result = function()
        except BaseException as raised:
            error = raised
    shared = [error is None, result]
    dist.broadcast_object_list(shared)
    if error is not None:
        raise error
    if not shared[0]:
        raise SystemExit(2)  # the main process prints why
    return shared[1]


def training_step(trainer):
    """The function that takes a step of a train.Trainer on a batch, and returns loss and number of correct clips."""
    config = trainer.config
    if world_size() > 1 and trainer.device.type == "cuda":  # PyTorch has no SyncBatchNorm on CPUs
        trainer.net = torch.nn.SyncBatchNorm.convert_sync_batchnorm(trainer.net)
    trainer.net.train(not config.freeze)
    if config.compile:
        from engine.accelerate import try_compile

        ids = trainer.train_ids[shard(config.batch_size)]
        try_compile(trainer.net, trainer.clips.sample(ids, trainer.rng, config.seg), config.amp)
    forward = torch.nn.parallel.DistributedDataParallel(trainer.net) if world_size() > 1 else trainer.net
    if wants_graph(trainer, forward):
        from engine.graphed import graph_step

        if graph := graph_step(trainer, forward):
            return graph
    return partial(trainer.train_step, forward)


def wants_graph(trainer, forward):
    """Whether to try a CUDA graph: on a GPU, in a single process, and without --compile."""
    return trainer.device.type == "cuda" and forward is trainer.net and not trainer.config.compile


def keep_freed_memory(keep=True):
    """Lets the C library keep freed memory for the next training step instead of returning it to the system: on a CPU a
    step of 64 clips takes 0.34 s, and not 0.45 s. keep=False: about glibc's defaults. Elsewhere no effect."""
    # Options of mallopt: M_MMAP_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
    values = (0, 2**25, 2**31 - 1, 2**26) if keep else (2**16, 2**25, 2**26, 2**17)
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in zip((-4, -3, -1, -2), values, strict=True):
            mallopt(option, value)
