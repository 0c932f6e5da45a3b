"""What a network that was trained with a Kinect loses when its joints are guessed from MediaPipe's (data/joint_map.py).

    python tools/try_joint_map.py pretrained/NUCLA/SGN-plus/0_best.pth --dataset NUCLA

There is no recording by both. So the test clips are reduced to what MediaPipe gives: the joints that the map makes of
others are made of those others of the same clip ("joints"), and the point between the hips becomes the origin in every
frame, so that movement through the room is lost ("joints, origin"). Or that movement is kept, as video_to_skeleton.py
--fov does, with an error of its own in every frame ("joints, path": Gaussian, 1 cm sideways and 3 cm in depth). Prints
top-1 of the clips as recorded and so reduced. What this cannot show is the error of MediaPipe itself: its noise, its
depth, and that its hips are not Kinect's.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

import util
from clips.joint_map import MAPS, map_joints
from clips.recordings import default_origin
from clips.skeletons import MEDIAPIPE33, SKELETONS
from data import Clips
from engine.checkpoint import load_checkpoint
from engine.datasets import find_h5
from safe import program
from train import accuracy, evaluate
from util import UserError

HIPS = ("left hip", "right hip")
NOISE = (0.01, 0.01, 0.03)  # metres
# What is done to the clips: joints, origin, path
ROWS = {
    "as recorded": (False, False, False),
    "joints": (True, False, False),
    "origin": (False, True, False),
    "joints, origin": (True, True, False),
    "joints, path": (True, False, True),
}


def to_mediapipe(clip, skeleton, foot):
    """A Kinect's joints where MediaPipe's would be: (..., joints, 3) -> (..., 33, 3); zeros where the map needs none.

    skeleton: the Kinect's name. foot: share of the way from the ankle to the toes at which its foot is.
    """
    names = SKELETONS[skeleton].joints
    result = np.zeros((*clip.shape[:-2], 33, 3), clip.dtype)
    for i, joint in enumerate(MEDIAPIPE33.joints):
        side, _, part = joint.partition(" ")
        if part == "foot":
            ankle, end = (clip[..., names.index(f"{side} {name}"), :] for name in ("ankle", "foot"))
            result[..., i, :] = ankle + (end - ankle) / foot
            continue
        same = {"ear": "head", "index finger": f"{side} hand", "little finger": f"{side} hand"}.get(part, joint)
        if same in names:
            result[..., i, :] = clip[..., names.index(same), :]
    return result


def reduce(clips, joints, origin, path):
    """The clips with mapped joints, the hips as the origin in every frame, errors of the path; then centered again."""
    skeleton = clips.skeleton.name
    frames = clips.frames.numpy().reshape(-1, clips.joints, 3).astype(np.float64)
    if joints:
        foot = MEDIAPIPE33.joints.index("left foot")
        weights = MAPS[MEDIAPIPE33.name, skeleton][SKELETONS[skeleton].joints.index("left foot")]
        frames = map_joints(to_mediapipe(frames, skeleton, weights[foot]), MEDIAPIPE33.name, skeleton)
    if origin:
        hips = [SKELETONS[skeleton].joints.index(name) for name in HIPS]
        frames -= frames[:, hips].mean(axis=1, keepdims=True)
    if path:
        frames += np.random.default_rng(1).normal(size=(len(frames), 1, 3)) * NOISE
        frames[-1] = 0
    spine = frames[clips.start.numpy(), default_origin(skeleton) - 1]  # of each clip's first frame
    frames[:-1] -= np.repeat(spine, clips.length.numpy(), axis=0)[:, None]
    return replace(clips, frames=torch.from_numpy(frames.reshape(len(frames), -1).astype(np.float32)))


def main(argv=None):
    parser = util.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, help="a <case>_best.pth")
    add("--dataset", required=True, help="the data set that it was trained on, as in main.py")
    add("--case", type=int, default=0, help="its protocol (%(default)s)")
    add("--data", type=Path, metavar="DIR", help="folder of the h5 (the data set's own)")
    args = parser.parse_args(argv)
    checkpoint = load_checkpoint(args.checkpoint)
    clips = Clips.read(find_h5(args.dataset, args.case, args.data)[0])
    checkpoint.check_fits(clips.joints, len(clips.class_names), clips.skeleton)
    if (MEDIAPIPE33.name, clips.skeleton.name) not in MAPS:
        raise UserError(f"--dataset {args.dataset}: no map from MediaPipe to {clips.skeleton.name}")
    before = None
    for name, changes in ROWS.items():
        logits, label = evaluate(checkpoint, reduce(clips, *changes) if any(changes) else clips)
        before = logits if before is None else before
        same = (logits.argmax(dim=1) == before.argmax(dim=1)).float().mean()
        print(f"{name:14} top-1 {accuracy(logits, label):5.2f}%, the same class as recorded for {same:.1%}")


if __name__ == "__main__":
    with program.exit_on_error():
        main()
