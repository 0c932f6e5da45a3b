"""The person in a video, or before a camera, as MediaPipe's 33 world landmarks: an .npy, or a frame a line in JSON.

    python tools/video_to_skeleton.py walk.mp4 --out walk.npy
    python tools/video_to_skeleton.py 0 --fov 60 | python tools/predict.py --live --checkpoint 0_best.pth

It needs MediaPipe 0.10.21, whose wheel has the pose model in it, in an environment of its own with NumPy below 2:
requirements-video.txt. The first program of the pipe runs in that environment, the second in the project's.

The .npy is float32 (frames, 33, 3), metres, x to the right of the picture, y down, z away from the camera. A frame
without a person is zeros. A line is a list of 33 {"x", "y", "z", "visibility"}, or null. At most one person is found.
Ctrl-C ends a camera's recording, and what was recorded is written.

MediaPipe's origin is between the hips, in every frame, so that movement through the room is lost. --fov, the camera's
horizontal field of view, brings it back: the origin becomes the camera, and the person stands where world landmarks
fall on those in the picture. Networks that were trained with a Kinect need it.
"""

import json
import os
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's root

from safe.program import ArgumentParser, exit_on_error, number
from util import UserError, atomic_write, regular

INSTALL = "python3.11 -m venv .venv-video && .venv-video/bin/pip install -r requirements-video.txt"


def parse_args(argv=None):
    gone = dict.fromkeys(["--jsonl"], "not needed: lines of JSON go to standard output; > FILE.jsonl keeps them")
    parser = ArgumentParser(description=__doc__, elsewhere=gone)
    add = parser.add_argument
    add("source", metavar="VIDEO", help="a file that OpenCV can read, or the number of a camera, from 0")
    add("--out", type=Path, metavar="FILE.npy", help="file to write, in place of JSON lines on standard output")
    fov = "of the camera, horizontal (webcams: about 60): puts the person where it stands before the camera"
    add("--fov", type=number(1, 179), metavar="DEGREES", help=fov)
    args = parser.parse_args(argv)
    if args.out and args.out.suffix != ".npy":
        parser.error(f"--out {args.out}: must end in .npy")
    return args


def read_landmarks(source, fov=None):
    """Yields the landmarks of each frame: (33, 4) float64, x, y, z in metres and the visibility, or None for nobody.
    source, fov: of the command line. Raises UserError."""
    is_camera = source.isascii() and source.isdigit()
    if not is_camera:
        open(regular(source), "rb").close()  # OpenCV does not say why it cannot
    os.environ |= {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8"}  # read when it is imported
    try:
        import cv2
        from mediapipe.python.solutions.pose import Pose
    except ImportError as error:
        raise UserError(f"MediaPipe cannot be imported ({error}); in an environment of its own: {INSTALL}") from None
    video = cv2.VideoCapture(int(source) if is_camera else source)
    try:
        if not video.isOpened():
            raise UserError(f"{source}: not a camera or a video that OpenCV can read")
        with _no_stderr(), Pose(model_complexity=1) as pose:  # the only model in the wheel
            while (read := video.read())[0]:
                found = pose.process(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
                if not found.pose_world_landmarks:
                    yield None
                    continue
                world, picture = (
                    np.array([[joint.x, joint.y, joint.z, joint.visibility] for joint in of.landmark])
                    for of in (found.pose_world_landmarks, found.pose_landmarks)
                )
                if fov:
                    height, width, _ = read[1].shape
                    world[:, :3] += place(world, picture[:, :2] * [width, height], (width, height), fov)
                yield world
    finally:
        video.release()


def place(world, picture, size, fov):
    """Where the origin of the world landmarks is, in metres from the camera: (3,) x, y, z.

    world: (joints, 4) x, y, z, visibility. picture: (joints, 2) pixels. size: (width, height) of the picture. fov: the
    horizontal field of view in degrees, of a camera without distortion whose axis meets the middle of the picture.
    A joint p falls on the pixel focal * (p + origin)xy / (p + origin)z from the middle. This is linear in the origin,
    which is found by least squares over all joints, weighted by their visibility.
    """
    focal = size[0] / 2 / np.tan(np.radians(fov) / 2)
    ray = (picture - np.array(size) / 2) / focal
    weight = np.sqrt(world[:, 3])[:, None]
    a = np.zeros((len(world), 2, 3))
    a[:, 0, 0] = a[:, 1, 1] = 1
    a[:, :, 2] = -ray
    b = ray * world[:, 2:3] - world[:, :2]
    return np.linalg.lstsq((a * weight[:, :, None]).reshape(-1, 3), (b * weight).ravel(), rcond=None)[0]


@contextmanager
def _no_stderr():
    """MediaPipe's threads print what concerns nobody, whatever they are told. What fails is an exception."""
    with open(os.devnull, "wb") as null, open(os.dup(2), "wb") as kept:
        os.dup2(null.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept.fileno(), 2)


def to_json(landmarks):
    """A line: tenths of a millimetre."""
    if landmarks is None:
        return "null"
    return json.dumps([{"x": x, "y": y, "z": z, "visibility": seen} for x, y, z, seen in landmarks.round(4).tolist()])


def main(argv=None, read=read_landmarks):
    """read: a generator in place of read_landmarks."""
    args, frames, end = parse_args(argv), [], None
    with closing(read(args.source, args.fov)) as landmarks:
        try:
            for frame in landmarks:
                if not args.out:
                    print(to_json(frame), flush=True)
                frames.append(np.zeros((33, 3)) if frame is None else frame[:, :3])
        except KeyboardInterrupt as interruption:  # what was read is written
            end = interruption
    array = np.array(frames, np.float32).reshape(-1, 33, 3)
    if not array.any():
        raise UserError(f"{args.source}: nobody was found in {len(array)} frames")
    if args.out:
        with atomic_write(args.out) as part, open(part, "wb") as file:
            np.save(file, array)
    there = int(array.any(axis=(1, 2)).sum())
    print(f"{len(array)} frames, {there} with a person{f': {args.out}' if args.out else ''}", file=sys.stderr)
    if end and not args.source.isdigit():
        raise end


if __name__ == "__main__":
    with exit_on_error():
        main()
