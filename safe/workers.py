"""Worker processes: a function of many jobs, in order, that an interrupt ends at once."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from tqdm import tqdm

from safe.program import prepare_streams
from util import UserError

AHEAD = 8  # results for each worker that may wait to be used


def available_cores():
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def parallel_map(function, jobs, workers, advice="with fewer --workers"):
    """Yields function(*job) for each job, in order, computed by `workers` processes; by this one if one is enough.

    At the end, also after an error or an interrupt, the processes are gone. advice: how to run the command again if one
    is killed.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from (function(*job) for job in jobs)
        return
    with process_pool(workers) as pool:
        try:
            futures = deque()
            for job in jobs:
                futures.append(pool.submit(function, *job))
                if len(futures) == AHEAD * workers:
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        except BrokenProcessPool:
            why = "a worker was killed, perhaps for lack of memory"
            raise UserError(f"{why}; run the same command again {advice}") from None
        except BaseException:  # also GeneratorExit, when the caller gives up
            for worker in multiprocessing.active_children():  # kill: an exception in a worker may be ignored
                worker.kill()
            raise


def process_pool(workers):
    """A ProcessPoolExecutor whose workers end with this process, ignore Ctrl-C, and share its progress bars."""
    context = multiprocessing.get_context("spawn")  # the same on every system, and no thread is forked
    tqdm.set_lock(context.RLock())
    return ProcessPoolExecutor(workers, context, _start_worker, (tqdm.get_lock(),))


def _start_worker(lock):
    prepare_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tqdm.set_lock(lock)

    def end_with_parent():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
