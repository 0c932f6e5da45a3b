"""A device beside the CPU for trials without a GPU: tensors of both cannot be mixed, and waits for it are counted.

    with second_device() as device:
        net.to(DEVICE)(clips)
    print(device.waits)

A tensor there wraps one of the CPU, which computes, so that the numbers are the CPU's. What is an error on a GPU is one
here: an operation on tensors of both devices, unless the CPU's is a single number in pointwise arithmetic; random
numbers from a generator of the other device; NumPy. Importing this registers DEVICE with PyTorch, as its backend from
elsewhere (PrivateUse1), for the rest of the process.
"""

from collections import Counter
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

DEVICE = "second"
# Operations that make the host wait for a GPU, besides copies from and to the CPU and boolean indices
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "bincount", "equal", "multinomial", "histc", "unique_dim"}
WAITS |= {"_unique2", "unique_consecutive", "unique_dim_consecutive", "_linalg_check_errors", "repeat_interleave"}


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self):
        return [torch.bfloat16, torch.float16]


_setup_privateuseone_for_python_backend(DEVICE, backend_module=_Module())


class _Generator(torch._C.Generator):
    """PyTorch's Python backend has no generators. This is the CPU's, and known by its address."""

    addresses = set()

    def __new__(cls, device="cpu"):
        self = super().__new__(cls)
        self.place = torch.device(device)
        (cls.addresses.discard if self.place.type == "cpu" else cls.addresses.add)(self._cdata)
        return self

    def __init__(self, device="cpu"):
        pass

    def __del__(self):
        self.addresses.discard(self._cdata)  # another generator may come to lie there

    @property
    def device(self):
        return self.place


class _Tensor(torch.Tensor):
    @staticmethod
    def __new__(cls, value):
        like = {"strides": value.stride(), "storage_offset": value.storage_offset(), "dtype": value.dtype}
        with torch.inference_mode(value.is_inference()):  # a view of an older tensor is no inference tensor
            self = torch.Tensor._make_wrapper_subclass(cls, value.size(), device=torch.device(DEVICE, 0), **like)
        self.value = value
        return self

    @classmethod
    def __torch_dispatch__(cls, func, *_):
        raise RuntimeError(f"{func} outside of second_device()")


@contextmanager
def second_device():
    """While this is entered, DEVICE can be used. Yields the SecondDevice, which counts waits."""
    before = torch.Generator, torch._C._only_lift_cpu_tensors()
    torch.Generator = _Generator
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=DEVICE) makes a tensor of the CPU, then copies
    try:
        with SecondDevice() as device:
            yield device
    finally:
        torch.Generator = before[0]
        torch._C._set_only_lift_cpu_tensors(before[1])


class SecondDevice(TorchDispatchMode):
    """Computes what is on DEVICE. waits: Counter of the operations for which the host would wait."""

    def __init__(self):
        super().__init__()
        self.waits = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func._can_decompose():  # in inference mode nobody has done it
            with self:
                return func.decompose(*args, **kwargs)
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        on_device = any(isinstance(tensor, _Tensor) for tensor in tensors)
        target = torch.device(kwargs.get("device") or (DEVICE if on_device else "cpu")).type
        check(func, leaves, tensors, target)
        if (target != "cpu" or on_device) and waits(func, args, kwargs, tensors, target):
            self.waits[func._overloadpacket.__name__] += 1

        given = {id(tensor.value if isinstance(tensor, _Tensor) else tensor): tensor for tensor in tensors}
        values, options = tree_map(lambda leaf: leaf.value if isinstance(leaf, _Tensor) else leaf, (args, kwargs))
        if "device" in options:
            options["device"] = torch.device("cpu")
        out = func(*values, **options)
        if torch.Tag.inplace_view in func.tags:  # such as squeeze_: the wrapper's shape changes as well
            with torch._C._DisableTorchDispatch():
                func(*args)

        def wrap(leaf):
            if id(leaf) in given:  # computed in place
                return given[id(leaf)]
            return _Tensor(leaf) if isinstance(leaf, torch.Tensor) and target != "cpu" else leaf

        return tree_map(wrap, out)


def check(func, leaves, tensors, target):
    """Raises RuntimeError for a mix of devices."""
    name, pointwise = func._overloadpacket.__name__, torch.Tag.pointwise in func.tags
    for leaf in leaves:
        if isinstance(leaf, torch._C.Generator) and (leaf._cdata in _Generator.addresses) != (target != "cpu"):
            raise RuntimeError(f"{name} on {target}: the generator is of another device")
    devices = {tensor.device.type for tensor in tensors if tensor.dim() or not (pointwise and tensor.is_cpu)}
    if len(devices) > 1 and name not in ("_to_copy", "copy_"):
        raise RuntimeError(f"{name}: tensors on {' and '.join(sorted(devices))}")


def waits(func, args, kwargs, tensors, target):
    """Whether the host would wait for the device."""
    name = func._overloadpacket.__name__
    if name in ("_to_copy", "copy_"):
        return target == "cpu" or any(tensor.is_cpu for tensor in tensors)
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        indices = [index for index in tree_leaves(args[1]) if isinstance(index, torch.Tensor)]
        return any(index.dtype in (torch.bool, torch.uint8) for index in indices)
    return name in WAITS and kwargs.get("output_size") is None
