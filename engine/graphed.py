"""A training step as one CUDA graph: its three hundred kernels are launched at once, and not one by one from Python.

Python may well take longer to launch the kernels of a network as small as SGN than a GPU to compute them. The graph has
the whole step, from the drawing of frames to the optimizer, and is used if its steps equal plain ones, as tried first.
"""

import gc

import torch

from safe.program import note
from util import derive_seed, shorten


class GraphedStep:
    """A function of a batch that does what Trainer.train_step does, and returns the same.

    batch: (batch size,) int64 on the device. The next step overwrites what is returned.
    """

    def __init__(self, trainer):
        self.batch = trainer.train_ids[: trainer.config.batch_size].clone()
        self.result = torch.zeros(2, device=self.batch.device)  # loss, number of correct clips

        def step():
            loss, correct = trainer.train_step(self.batch)
            self.result[0].copy_(loss)
            self.result[1].copy_(correct)

        self.replay = record(step, trainer)

    def __call__(self, batch):
        self.batch.copy_(batch)
        self.replay()
        return self.result


def record(step, trainer):
    """Takes a few steps, then captures one, which is not taken. Returns the function that replays it.

    Raises whatever CUDA may say, a RuntimeError as a rule.
    """
    device, groups = trainer.device, trainer.optimizer.param_groups
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(trainer.rng)  # that of dropout, the device's own, always is
    with torch.cuda.device(device):
        usual, aside, capturing = torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.Stream()
        aside.wait_stream(usual)
        with torch.cuda.stream(aside):
            for _ in range(3):  # what libraries set up at first, and the optimizer's state, must not be in the graph
                step()
        usual.wait_stream(aside)
        gc.collect()  # nor may the graph of an earlier run be freed meanwhile
        try:
            for group in groups:  # else Adam refuses. Fused, and with its rate in a tensor, it always is
                group["capturable"] = True
            # Where the end of a capture fails, the outer context brings the stream back
            with torch.cuda.stream(capturing), torch.cuda.graph(graph, stream=capturing):
                step()
        finally:
            for group in groups:
                group["capturable"] = False
    return graph.replay


def graph_step(trainer):
    """The GraphedStep of a Trainer; or None, and a line that says why, if CUDA refuses or its steps are not plain ones.

    The network must be in the mode in which it trains. It and the optimizer are afterwards as they were; the generators
    are not, as every epoch seeds them.
    """
    size, graphed, why = trainer.config.batch_size, None, None
    start = [tensor.clone() for tensor in tensors_of(trainer)]
    try:
        graphed = GraphedStep(trainer)
    except Exception as error:
        why = f"it cannot be captured ({shorten(error, 150)})"
        revive_generators(trainer)
    start += [torch.zeros_like(tensor) for tensor in tensors_of(trainer)[len(start) :]]
    if graphed:
        batches, plain = (trainer.train_ids[:size], trainer.train_ids[-size:]), trainer.train_step
        expected, ours, again = (outcome(trainer, start, step, batches) for step in (plain, graphed, plain))
        off, usual = distance(expected, ours), distance(expected, again)  # plain steps may differ from each other
        if not off <= 10 * usual:
            graphed, why = None, f"its steps are not the plain ones: {off:.2g} off, which differ by {usual:.2g}"
    restore(trainer, start)
    if why:
        note(f"training without a CUDA graph, which takes longer: {why}")
    return graphed


def tensors_of(trainer):
    """Parameters and buffers, then the optimizer's tensors, of which there are none before its first step."""
    moments = (value for entry in trainer.optimizer.state.values() for value in entry.values())
    return [*trainer.net.state_dict().values(), *moments]


@torch.no_grad()
def restore(trainer, values):
    for tensor, value in zip(tensors_of(trainer), values, strict=True):
        tensor.copy_(value)


def outcome(trainer, start, take, batches):
    """Weights, moments and results of a step on each batch, from these values and one state of the generators."""
    restore(trainer, start)
    trainer.rng.manual_seed(derive_seed(trainer.config.seed))
    torch.manual_seed(derive_seed(trainer.config.seed))
    results = [torch.stack([value.float() for value in take(batch)]) for batch in batches]
    return [tensor.clone() for tensor in tensors_of(trainer)] + results


def distance(one, other):
    """Between two lists of tensors, as between two vectors."""
    pairs = zip(one, other, strict=True)
    return torch.stack([(a.double() - b.double()).square().sum() for a, b in pairs]).sum().sqrt().item()


def revive_generators(trainer):
    """After a capture that failed, PyTorch's generators take it to be still going on, and refuse to draw."""
    trainer.rng = torch.Generator(trainer.device)
    if trainer.device.type == "cuda":
        usual = torch.cuda.default_generators[trainer.device.index]
        usual.graphsafe_set_state(usual.clone_state())
