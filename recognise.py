"""Trained networks on recordings that are in no data set: a file of raw skeletons, or frames as a camera sees them.

    network = Classifier("results/NTU/SGN/0_best.pth")
    clip = read_recording("S001C001P001R001A010.skeleton")              # (frames, persons, 25, 3), as in training
    logits = network.logits(clip, draws=5, generator=torch.Generator().manual_seed(1))
    network.top(logits.softmax(-1).numpy())                             # [{"label": 9, "name": "clapping", …}, …]

    recogniser = Recogniser("results/NTU/SGN/0_best.pth")
    for joints in camera:                                               # (25, 3), or (persons, 25, 3), in metres
        if (probabilities := recogniser.update(joints)) is not None:
            print(network.names[probabilities.argmax()])

Everything is on the CPU: a clip is too little for a GPU. tools/predict.py does the same from the command line.
"""

import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch

import util
from checkpoint import load_checkpoint
from data import ROOT, Clips
from folded import Folded
from recipes import recipe_of
from util import UserError

sys.path += [str(ROOT / "data" / folder) for folder in ("ntu", "nucla")]  # plain folders, as in data.py
import layout  # noqa: E402
import protocols  # noqa: E402
from blocks import BadFile, Skipped  # noqa: E402
from get_raw_denoised_data import Body, actors  # noqa: E402
from get_raw_skes_data import read_file  # noqa: E402
from make_nucla import ACTIONS, read_clip  # noqa: E402
from seq_transformation import at_origin  # noqa: E402

ORIGIN = 2  # the spine, of both Kinects' skeletons
# A window as long as the training clips are on average (frames: NTU 84, DEMO 69, N-UCLA 43), so that as much time lies
# between two drawn frames, and velocities are as large, as in training. Rounded to the nearest multiple of the 20
# segments: the paper's recipe never draws what is left over at a clip's end, and that is what a camera saw just now.
WINDOW = {"NTU": 80, "NTU120": 80, "DEMO": 60, "NUCLA": 40}


def read_recording(path, origin=ORIGIN):
    """A file as the network's data set has its clips: (frames, persons, joints, 3) float32, metres.

    path: `.skeleton`, NTU RGB+D's text, of which one actor or two are kept; `.json`, N-UCLA's, with or without a label;
    or `.npy`, (frames, joints, 3) or (frames, persons, joints, 3) in metres, in which zeros stand for who is not there.
    origin: the joint, from 1, that is the origin of an `.npy`; 0 leaves it where it is.
    Raises UserError that names the file, and the line of a `.skeleton`; OSError where the system cannot read it.
    """
    path = Path(path)
    if path.suffix not in READERS:
        raise UserError(f"{path}: not a .skeleton, .json or .npy file")
    try:
        clip = READERS[path.suffix](path, origin)
        if not clip.any():
            raise BadFile(None, "nobody is in it: all coordinates are 0")
        if not np.isfinite(clip).all():
            raise BadFile(None, "a coordinate is too large for float32")
    except BadFile as error:
        raise UserError(str(Skipped(str(path), *error.args))) from None
    return clip


def _read_skeleton(path, _):
    valid, bodies = read_file(path)
    clip = at_origin(actors(valid, [Body(body.joints, body.first, body.motion) for body in bodies]))
    return clip.reshape(len(clip), -1, 25, 3)


def _read_json(path, _):
    clip, _ = read_clip(path.read_bytes(), path, labelled=False)
    return clip.reshape(len(clip), 1, -1, 3)


def _read_npy(path, origin):
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped, so that no announced shape is allocated
        shape, kind = array.shape, array.dtype.kind
    except OSError:
        raise
    except Exception as error:  # the header of a damaged file fails in many ways
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadFile(None, f"not an array of numbers in NumPy's format ({why})") from None
    if len(shape) not in (3, 4) or shape[-1] != 3 or 0 in shape or kind not in "fiu":
        wanted = "(frames, joints, 3) or (frames, persons, joints, 3)"
        raise BadFile(None, f"{array.dtype} of shape {shape}, not {wanted}, metres")
    if shape[-2] < origin:
        raise BadFile(None, f"{shape[-2]} joints, so joint {origin} cannot be the origin")
    clip = np.array(array, np.promote_types(array.dtype, np.float32)).reshape(len(array), -1, *shape[-2:])
    if not (finite := np.isfinite(clip).all(axis=(1, 2, 3))).all():
        raise BadFile(
            None, f"NaN or infinity in frame {finite.argmin() + 1}; zeros stand for a person who is not there"
        )
    return centred(clip, origin)


READERS = {".skeleton": _read_skeleton, ".json": _read_json, ".npy": _read_npy}


def centred(clip, origin=ORIGIN):
    """What the data sets' scripts do to a clip, for one from elsewhere: (frames, persons, joints, 3), float32 returned.

    Frames of nobody, and persons who are in no frame, are dropped, and joint `origin` (from 1; 0 for none) of person
    1's first frame becomes the origin. A clip of nobody comes back with no frames.
    """
    there = (clip != 0).any(axis=(2, 3))
    clip = clip[there.any(axis=1)][:, there.any(axis=0)]
    if origin and len(clip):
        clip = at_origin(clip.reshape(len(clip), -1), clip.shape[2], origin).reshape(clip.shape)
    with np.errstate(over="ignore"):
        return clip.astype(np.float32)


class Classifier:
    """A checkpoint of this project or of the authors' release, in its folded form, for one clip at a time.

    path: the checkpoint. classes: a file with the classes' names, one a line, or the h5 that it was trained on; by
    default those that the checkpoint holds, or of the data set it tells of, or NTU's if it tells nothing and has its
    shape.
    Attributes: joints, recipe, names (one a class) and window, the frames of a Recogniser's window by default.
    Raises UserError for a checkpoint or a file of names that is missing, damaged or of another network.
    """

    def __init__(self, path, classes=None):
        net, checkpoint = util.opened(load_checkpoint, path)
        self.path, self.net, self.joints = path, util.opened(Folded, net), net.num_joint
        self.recipe = recipe_of(path, checkpoint)
        known = class_names(net, checkpoint, classes)[: net.num_classes]
        self.names = (*known, *(f"class {i}" for i in range(len(known), net.num_classes)))
        self.window = max(net.seg, WINDOW.get(_trained_on(net, checkpoint), WINDOW["NTU"]) // net.seg * net.seg)

    def logits(self, clip, draws, generator):
        """Logits of a clip, (frames, persons, joints, 3) as `read_recording` returns it: (classes,) float32.

        They are averaged over `draws` draws; None: as many as its recipe tests with. Raises UserError if the number
        of joints is another.
        """
        if clip.shape[2] != self.joints:
            raise UserError(f"{clip.shape[2]} joints, but {self.path} was made for {self.joints}")
        clips = replace(Clips.one(clip), recipe=self.recipe)
        ids = torch.zeros(draws or self.recipe.test_draws, dtype=torch.int64)
        return self.net(clips.draw(ids, generator, self.net.seg)).mean(dim=0)

    def top(self, probabilities, k=5):
        """The k likeliest classes, the likeliest first: [{"label": from 0, "name", "probability"}]."""
        order = np.argsort(-probabilities, kind="stable")[:k].tolist()
        return [{"label": i, "name": self.names[i], "probability": round(float(probabilities[i]), 6)} for i in order]


def _trained_on(net, checkpoint):
    """The name of a checkpoint's data set, or None."""
    about = checkpoint.get("about")
    if isinstance(about, dict):
        return str(about.get("dataset"))
    release = net.num_joint == 25 and net.num_classes in (60, 120)  # the release's tell nothing
    return {60: "NTU", 120: "NTU120"}[net.num_classes] if release else None


def class_names(net, checkpoint, path=None):
    """What is known of the names of a network's classes: a sequence of str, empty where nothing is.

    path: a text file with a name a line, or the h5 trained on; None for the names that the checkpoint holds, or those
    of the data set that it tells of. Raises UserError for a file that cannot be read, or has another number of names.
    """
    if path is None:
        dataset = _trained_on(net, checkpoint)
        names = protocols.dataset(dataset).classes if dataset in protocols.NAMES else ()
        return checkpoint.get("class_names") or (ACTIONS if dataset == "NUCLA" else names)
    path = Path(path)
    try:
        if path.suffix in (".h5", ".hdf5"):
            with h5py.File(path) as file:
                names = layout.about(file)["class_names"]
        else:
            names = protocols.lines(path)
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text of names, one a line") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or 'cannot be read as h5'}") from None
    if len(names) != net.num_classes:
        raise UserError(f"{path}: {len(names)} names, but the checkpoint has {net.num_classes} classes")
    return names


class Recogniser:
    """Says of a stream of frames, as they come, what is being done in the last `window` of them.

    checkpoint: its path, or a Classifier. window: frames, at least the network's segments; by default about the mean
    length of the training clips (WINDOW). stride: frames from one prediction to the next. persons: at most so many in
    a frame. origin: as in `read_recording`. classes: as in Classifier.
    draws: of frames from the window, averaged. They are random, from `seed`, and not the centres of the segments: two
    people's frames alternate in a clip, so that at even distances all drawn ones can be the same person's. (On the
    demo's test clips of two, one random draw has 98% right, the centres 54%; on those of one both have 94%.)
    Raises UserError as Classifier, and for a window that is too short or an origin that the skeleton lacks.
    """

    def __init__(self, checkpoint, window=None, stride=1, draws=1, persons=2, origin=ORIGIN, seed=1, classes=None):
        self.network = checkpoint if isinstance(checkpoint, Classifier) else Classifier(checkpoint, classes)
        self.names, self.window, self.stride = self.network.names, window or self.network.window, stride
        joints, seg = self.network.joints, self.network.net.seg
        if self.window < seg:
            raise UserError(f"a window of {self.window} frames: the network draws {seg}, so at least that many")
        if not 0 <= origin <= joints:
            raise UserError(f"joint {origin} cannot be the origin: {self.network.path} was made for {joints} joints")
        self.draws, self.origin = draws, origin
        self.generator = torch.Generator().manual_seed(seed)
        self.frames = 0  # that came so far
        # A ring: frame i stands in rows i and i + window, so the last `window` frames are always one slice
        self.ring = np.zeros((2 * self.window, persons, joints, 3), np.float32)

    def update(self, joints):
        """Takes the next frame; returns the probabilities of the classes, (classes,) float32, or None.

        joints: (joints, 3) or (persons, joints, 3), metres in the camera's frame; zeros for a person who is not there,
        and None, or no persons, for nobody. None is returned until the window is full, between strides, and while
        somebody is in fewer frames of it than the network draws. One prediction costs what one clip costs.
        Raises ValueError for joints of another shape, and for NaN and infinity; the frame then counts as not come.
        """
        _, persons, *skeleton = self.ring.shape
        with np.errstate(over="ignore"):
            frame = np.zeros((0, *skeleton)) if joints is None else np.asarray(joints).astype(np.float32)
        frame = frame[None] if frame.ndim == 2 else frame
        if frame.ndim != 3 or list(frame.shape[1:]) != skeleton or len(frame) > persons:
            wanted = f"({skeleton[0]}, 3), nor that of at most {persons} persons"
            raise ValueError(f"a frame of shape {np.shape(joints)}, not {wanted}")
        if not np.isfinite(frame).all():
            raise ValueError("NaN or infinity in a frame; zeros stand for a person who is not there")
        at = self.frames % self.window
        for row in (at, at + self.window):
            self.ring[row, : len(frame)] = frame
            self.ring[row, len(frame) :] = 0
        self.frames += 1
        if self.frames < self.window or (self.frames - self.window) % self.stride:
            return None
        clip = centred(self.ring[at + 1 : at + 1 + self.window], self.origin)
        if len(clip) < self.network.net.seg:
            return None
        return self.network.logits(clip, self.draws, self.generator).softmax(dim=-1).numpy()
