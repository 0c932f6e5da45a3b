"""Times functions side by side."""

import statistics
import time

import torch


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
