"""Where a run computes, and what may make it faster there: TF32, bfloat16, --compile, the C library's memory."""

import ctypes
import statistics
import sys
import time
from contextlib import suppress
from functools import partial

import torch

from safe.program import note
from util import UserError, shorten

CPU_BATCH = 8  # clips that a CPU computes at a time: what is between two layers then fits into its caches


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


def keep_freed_memory(keep=True):
    """Lets the C library keep freed memory for the next training step instead of returning it to the system: on a CPU a
    step of 64 clips takes 0.34 s, and not 0.45 s. keep=False: about glibc's defaults. Elsewhere no effect."""
    # Options of mallopt: M_MMAP_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
    values = (0, 2**25, 2**31 - 1, 2**26) if keep else (2**16, 2**25, 2**26, 2**17)
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in zip((-4, -3, -1, -2), values, strict=True):
            mallopt(option, value)


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
    note("compiling, which takes a minute or two")
    try:
        net.compile()
        (compiled,) = timed([step], 2, example.device)
    except Exception as error:  # whatever a compiler may raise
        net._compiled_call_impl = None
        lines = [line for line in str(error).splitlines() if line.strip() and not line.endswith("raised:")]
        print(f"--compile: failed, continuing without ({lines[0] if lines else error})", file=sys.stderr)
    else:
        if example.device.type == "cpu" and compiled > plain:
            note(f"--compile makes a step slower here: {compiled:.2f} s, and {plain:.2f} s without")
    net.load_state_dict(state)
    net.zero_grad(set_to_none=True)


def check_amp(device):
    """Says so if products in bfloat16, as with --amp, are slower on a device than in float32. Takes milliseconds."""
    pairs = [[torch.ones(n, 256, device=device, dtype=dtype) for n in (512, 256)] for dtype in (None, torch.bfloat16)]
    plain, amp = timed([partial(torch.matmul, *pair) for pair in pairs], 3, device)
    if amp > 1.5 * plain:
        times = f"a product takes {1e3 * amp:.1f} ms in bfloat16 and {1e3 * plain:.1f} ms in float32"
        note(f"--amp makes this slower on this {device.type}: {times}")


def timed(functions, runs, device, repeat=1):
    """The median seconds of each function, called in turns, after one to warm up. repeat: calls timed together."""

    def time_once(function):
        start = time.perf_counter()
        for _ in range(repeat):
            function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - start) / repeat

    _, *turns = [[time_once(function) for function in functions] for _ in range(1 + runs)]
    return [statistics.median(column) for column in zip(*turns, strict=True)]
