"""One process, or several of one run under torchrun: which this one is, and what they tell each other.

    torchrun --nproc_per_node 2 main.py --dataset NUCLA          # NCCL on GPUs, gloo on CPUs

Everything here is at home in a single process too, where it does nothing. The processes of a run hold the same clips,
weights and generators and do the same steps, each on its share of a batch; the first of them alone writes and prints.
"""

import os

import torch
from torch import distributed as dist

from util import UserError, pick_device


def start(name=None):
    """Joins the processes that torchrun started, if it did. Returns this one's torch.device.

    name: as `util.pick_device` takes it, which has its say here as well; of several processes each gets a GPU.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return pick_device(name)
    if (name or "cuda").startswith("cuda") and torch.cuda.is_available():
        local, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if name not in (None, "cuda") or local >= there:
            raise UserError(f"--device {name or 'cuda'}: torchrun gives each process a GPU; {there} are here")
        torch.cuda.set_device(local)  # before anything is put on a GPU: else each process takes memory on the first
        name = f"cuda:{local}"
    device = pick_device(name)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def stop():
    """Leaves the others in an orderly way: when none of them is still listening to another."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def count():
    return dist.get_world_size() if dist.is_initialized() else 1


def rank():
    return dist.get_rank() if dist.is_initialized() else 0


def first():
    """Whether this is the process that writes and prints."""
    return rank() == 0


def say(*words, **how):
    """Prints, once for all processes of a run."""
    if first():
        print(*words, **how)


def share(n):
    """This process's part of n things, a slice: contiguous, and as large as the others' or larger by one."""
    return slice(n * rank() // count(), n * (rank() + 1) // count())


def total(tensor):
    """The sum over all processes of a tensor of the same shape."""
    if dist.is_initialized():
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


def as_first(tensors):
    """Makes these tensors, such as batch-norm statistics, those of the first process."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def from_first(function):
    """What function() gives, which the first process alone calls; if it raises there, all end."""
    if not dist.is_initialized():
        return function()
    given, error = [None], None
    if first():
        try:
            given = [function()]
        except BaseException as raised:
            error = raised
    failed = [error is not None]
    dist.broadcast_object_list(failed)
    if error is not None:
        raise error
    if failed[0]:
        raise SystemExit(2)  # the first process says why
    dist.broadcast_object_list(given)
    return given[0]
