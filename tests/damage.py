"""Correct files of every kind that the project reads, and ways to damage them. fuzz.py reads them.

A generator `rng` decides everything, so that a file can be made again.
"""

import json
import pickle
import zipfile
from collections import OrderedDict

import h5py
import numpy as np
import torch

from clips import h5 as layout

WORDS = b"-1|1000000000|999999999999999999999|nan|inf|-1e39|1e-400|word|1.5|0x10|1_0|\xff\xfe|\xed\xb3\xbf|\x00|25|26"
WORDS = [*WORDS.split(b"|"), b"", b" ", b"\n", b"\r\n", b"72057594037944738"]
ODD = [None, True, -1, 0, 1, 2**31, 2**63, 10**30, 0.5, float("nan"), float("inf"), "", "word", "a\nb", "\udcff"]
ODD += ["x" * 10**5, [], {}, [[]], [[1, 2], [3]], {"a": 1}, b"\xff"]
SHARED = ["ha"] * 10  # in a pickle: a few bytes, and a billion texts if they are written out
for _ in range(8):
    SHARED = [SHARED] * 10


# ---- what is in correct files


def skeleton(rng):
    """Up to 3 bodies in each of 12 to 40 frames."""
    frames = int(rng.integers(12, 40))
    lines = [frames]
    for _ in range(frames):
        bodies = int(rng.integers(0, 4))
        lines.append(bodies)
        for body in range(bodies):
            lines += [f"7205759403794473{body} 0 1 1 0 0 0 0.1 -0.2 2", 25]
            lines += [" ".join(f"{value:.6f}" for value in row) + " 2" for row in rng.normal(size=(25, 11))]
    return "\n".join(map(str, lines)) + "\n"


def log(rng):
    names = ("epoch", "train_loss", "train_acc", "test_loss", "test_acc", "lr")
    return "\n".join(["# seed: 1", ",".join(names), *[",".join(["1.5"] * len(names))] * 5, ""])


def nucla(rng):
    return {"skeletons": rng.normal(size=(6, 20, 3)).round(3).tolist(), "label": 3}


def poses(rng):
    """Frames of one of two pose estimators."""
    points = rng.uniform(0.1, 0.9, size=(5, 18, 3)).round(3)
    person = {"keypoints": points[0, :17, :2].tolist(), "keypoint_scores": points[0, :17, 2].tolist()}
    openpose = [{"people": [{"pose_keypoints_2d": values}]} for values in points.reshape(5, -1).tolist()]
    return pick(rng, [openpose, [{"frame_id": i, "instances": [person, person]} for i in range(5)]])


def kinetics(rng):
    person = {"pose": rng.random(36).round(3).tolist(), "score": rng.random(18).round(3).tolist()}
    return {"data": [{"frame_index": i, "skeleton": [person]} for i in (1, 2)], "label": "x", "label_index": 5}


def pyskl(rng):
    clips = [rng.normal(size=(1, 4, 25, 3)).astype(np.float16) for _ in range(3)]
    return {"split": {"train": ["0", "1"], "test": ["2"]}} | {
        "annotations": [{"frame_dir": str(i), "label": i, "keypoint": clip} for i, clip in enumerate(clips)]
    }


def npz(rng):
    x, y = rng.normal(size=(6, 9, 150)).astype("f4"), np.eye(3)[np.arange(6) % 3]
    return {"x_train": x, "y_train": y, "x_test": x, "y_test": y}


def nucla_clips(rng):
    return {f"a{action:02}_s01_e00_v01": nucla(rng) | {"label": action} for action in (1, 2)}


# ---- damage


def damage_bytes(rng, data):
    """One to four changes: bytes cut off, removed, repeated, replaced; lines removed, fields replaced."""
    for _ in range(rng.integers(1, 5)):
        i, j = sorted(rng.integers(0, len(data) + 1, 2).tolist())
        k = min(j, i + int(rng.integers(1, 60)))
        case = rng.integers(0, 7)
        if case < 4:
            data = [data[:i], data[:i] + data[k:], data[:k] + data[i:], data[:i] + rng.bytes(k - i) + data[k:]][case]
            continue
        lines = data.split(b"\n")
        line = int(rng.integers(len(lines))) if rng.random() < 0.7 else 0
        fields = lines[line].split(b" ")
        fields[rng.integers(len(fields))] = pick(rng, WORDS)
        data = b"\n".join([*lines[:line], *([b" ".join(fields)] if case > 4 else []), *lines[line + 1 :]])
    return data


def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def change(rng, value, odd=ODD):
    """A value with one of the values in it replaced, by one of `odd` if it is no array or tensor; removed; or moved.

    Parts of many values are changed more often than those of few.
    """
    if isinstance(value, dict | list | tuple) and len(value) and rng.random() < 0.95:
        new = dict(value) if isinstance(value, dict) else dict(enumerate(value))
        sizes = [1 + 10 * len(part) if isinstance(part, dict | list | tuple) else 1 for part in new.values()]
        key, other = rng.choice(len(new), 2, p=np.array(sizes) / sum(sizes))
        key, other = list(new)[key], list(new)[other]
        match rng.integers(10):
            case 0:
                del new[key]
            case 1:
                new[key] = new[other]
            case 2:
                new[pick(rng, ["word", "\udcff", -1, 2**40])] = new[key]
            case _:
                new[key] = change(rng, new[key], odd)
        return new if isinstance(value, dict) else list(new.values())
    if isinstance(value, np.ndarray):
        return odd_array(rng, value)
    return odd_tensor(rng, value) if isinstance(value, torch.Tensor) else pick(rng, odd)


def odd_array(rng, x):
    others = [x.astype(kind) for kind in ("f8", "i4", ">f4", "c8", "?", "S4", "O")]
    others += [x * np.nan, x * np.inf, x * 0, x + 1e30, x[:0], x[:1], x.reshape(-1), x[None], x.T, x[..., ::-1], x[()]]
    return pick(rng, others)


def odd_tensor(rng, x):
    same = [torch.zeros(1).expand(x.shape), torch.zeros(x.numel() + 1).as_strided(x.shape, [1] * x.dim())]
    same += [x.repeat_interleave(2, -1)[..., ::2], x.mT.clone().mT] if x.dim() > 1 else []
    same += [torch.full_like(x, value) for value in (-1, 1e6)]
    if rng.random() < 0.5:  # same shape and type, other strides or values
        return pick(rng, same)
    others = [x.to(kind) for kind in (torch.float64, torch.float16, torch.int8, torch.bool, torch.complex64)]
    others += [x[None], x.flatten(), x[:0] if x.dim() else x, torch.zeros(4_000_000), torch.nn.Parameter(x.float())]
    others += [x.float() * torch.nan, x.float() / 0, x.to("meta"), x.float().to_sparse()]
    others += [torch.nested.nested_tensor([x.float()] * 2), torch.zeros(1).expand(10**9, 512)]
    return pick(rng, others)


def change_h5(rng, path):
    """Replaces an attribute, or a data set by one of other values, shape or chunks."""
    with h5py.File(path, "r+") as file:
        key, name = pick(rng, list(file)), pick(rng, list(file.attrs))
        x = file[key][()]
        if rng.random() < 0.3:
            odd = [-1, 0, 2**63, 1.5, np.nan, "word", b"\xff", ["a", "b"], np.eye(2), file[key].ref]
            file.attrs[name] = pick(rng, odd)
            return
        del file[key]
        if rng.random() < 0.5:
            file[key] = pick(rng, [x.astype("f2"), x * np.nan, x[:-1], x.T, x[0], x.astype("S4"), np.zeros(0)])
            return
        shape = tuple(pick(rng, [1, 9, 1000, 10**9]) if rng.random() < 0.3 else n for n in x.shape)
        options = pick(rng, [{"chunks": True}, {"compression": "gzip"}, {"fillvalue": 1}, {}])
        file.create_dataset(key, shape, x.dtype, **options)


# ---- content to files


def dump_text(rng, content, path):
    path.write_text(content, encoding="utf-8")


def write_h5(rng, content, path):
    """Of 9 clips; there is no other content."""
    rng = rng or np.random.default_rng(0)
    labels = np.arange(9) % 3
    clips = [rng.normal(size=(int(rng.integers(1, 30)), 15)) for _ in labels]
    header = dict(frames=30, joints=5, persons=1, class_names="abc", protocol="fuzz", made_by="fuzz")
    header |= dict(origin=1, axes="x, y, z", parents=[0, 0, 1, 2, 3])
    layout.write_h5(path, dict.fromkeys(layout.SPLITS, (clips, labels)), **header)


def dump_json(rng, content, path):
    path.write_text(json.dumps(content, default=repr), encoding="utf-8")


def dump_pickle(rng, content, path):
    path.write_bytes(pickle.dumps(content, protocol=int(rng.integers(6))))


def dump_npy(rng, content, path):
    with open(path, "wb") as file:
        np.save(file, np.asarray(content, None if isinstance(content, np.ndarray) else object), allow_pickle=True)


def dump_zip(suffix, dump):
    """A dump of {name: content} to files in a zip, each by `dump`."""

    def dump_all(rng, content, path):
        content, part = content if isinstance(content, dict) else {"a": content}, path.with_suffix(".part")
        with zipfile.ZipFile(path, "w", pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for name, value in content.items():
                dump(rng, value, part)
                archive.write(part, f"{name}{suffix}".encode("utf-8", "replace").decode())
        part.unlink(missing_ok=True)

    return dump_all


def save_torch(rng, content, path):
    """Also in the format of PyTorch before 1.6, in other pickle protocols, and with attributes of state dicts."""
    for key in ("state_dict", "net"):
        if isinstance(content, dict) and isinstance(content.get(key), dict) and rng.random() < 0.3:
            content[key] = OrderedDict(content[key])
            content[key]._metadata = pick(rng, [*ODD, {"": {"assign_to_params_buffers": True}}, {"": {"version": "x"}}])
    zipped, protocol = rng.random() < 0.8, int(rng.integers(6)) if rng.random() < 0.1 else 2
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=bool(zipped))
