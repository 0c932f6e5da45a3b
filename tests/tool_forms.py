"""One recording in the form of each pose tool."""

from typing import NamedTuple

import numpy as np

from clips.skeletons import SKELETONS

SIZE, XYS = (640, 480), ("x", "y", "visible")


class Form(NamedTuple):
    skeleton: str
    person: str  # of PERSONS
    frame: object  # number of the frame, persons
    file: object = list  # frames
    has_identities: bool = True
    joints: int | None = None  # in the file, if more than the skeleton's
    flags: dict = {}
    turn: object = lambda clip: clip  # from metres in Kinect's axes to the tool's


PERSONS = {  # as the tools write joints, (joints, 3), and a number
    "openpose": lambda v, i: {"person_id": [i], "pose_keypoints_2d": v.ravel().tolist()},
    "mmpose": lambda v, i: {"keypoints": v[:, :2].tolist(), "keypoint_scores": v[:, 2].tolist(), "track_id": i},
    "lifted": lambda v, i: {"keypoints": v.tolist(), "keypoint_scores": [1.0] * len(v), "track_id": i},
    "ultralytics": lambda v, i: {"keypoints": dict(zip(XYS, v.T.tolist(), strict=True)), "track_id": i},
    "kinetics": lambda v, i: {"pose": (v[:, :2] / SIZE).ravel().tolist(), "score": v[:, 2].tolist()},
    "mediapipe": lambda v, i: [{"x": x, "y": y, "z": z, "visibility": 0.9} for x, y, z in v.tolist()],
    "azure": lambda v, i: {"body_id": i, "joint_positions": v.tolist()},
    "zed": lambda v, i: {"id": i, "keypoint": v.tolist(), "keypoint_confidence": [90.0] * len(v)},
    "alphapose": lambda v, i: {"category_id": 1, "keypoints": v.ravel().tolist(), "score": 2.5, "idx": [[float(i)]]},
    "cmu": lambda v, i: {"joints": v.ravel().tolist()},
    "open": lambda v, i: {"person_id": [-1], "pose_keypoints_2d": v.ravel().tolist()},
}


def under(*keys):
    """A frame with its persons under these keys; without keys, a list of them."""
    return lambda i, people: {"frame_id": i, "frame_index": i} | dict.fromkeys(keys, people) if keys else people


def by(name):
    """A file that is a dict of frames."""
    return lambda frames: {name(i): frame for i, frame in enumerate(frames)}


def images(i, people):
    return [{"image_id": f"{i}.jpg"} | person for person in people]


COCO = {"frame": under("instances"), "file": lambda frames: {"meta_info": {}, "instance_info": frames}}
HALPE = {"frame": images, "file": lambda frames: sum(frames, [])}
PICTURES = {"file": by("{}.jpg".format), "has_identities": False}
TIMES = {"frame": under("body_list"), "file": by(lambda i: str(1693920934572 + 33 * i))}
LANDMARKS = {"has_identities": False, "turn": lambda clip: clip * [-1, -1, 1]}
AZURE = {"file": lambda frames: {"frames": frames}, "turn": lambda clip: clip * [-1000, -1000, 1000]}
Z_UP = {"flags": {"up": "z"}, "turn": lambda clip: clip[..., [0, 2, 1]] * [1, -1, 1]}
FORMS = {
    "OpenPose COCO": Form("openpose18", "openpose", under("people")),
    "OpenPose BODY_25": Form("openpose25", "openpose", under("people")),
    "MMPose": Form("coco17", "mmpose", under("instances")),
    "MMPose demo": Form("coco17", "mmpose", **COCO),
    "COCO-WholeBody": Form("coco17", "mmpose", **COCO, joints=133),
    "Ultralytics": Form("coco17", "ultralytics", under()),
    "AlphaPose": Form("coco17", "alphapose", **HALPE),
    "AlphaPose Halpe-136": Form("coco17", "alphapose", **HALPE, joints=136),
    "AlphaPose cmu": Form("openpose18", "cmu", under("bodies"), **PICTURES),
    "AlphaPose open": Form("openpose18", "open", under("people"), **PICTURES),
    "Kinetics-Skeleton": Form("openpose18", "kinetics", under("skeleton"), lambda frames: {"data": frames}, False),
    "MediaPipe Tasks": Form("mediapipe33", "mediapipe", under("pose_landmarks", "pose_world_landmarks"), **LANDMARKS),
    "MediaPipe JS": Form("mediapipe33", "mediapipe", under("landmarks", "worldLandmarks"), **LANDMARKS),
    "MediaPipe lists": Form("mediapipe33", "mediapipe", under(), **LANDMARKS),
    "Azure Kinect": Form("azure_kinect", "azure", under("bodies"), **AZURE),
    "ZED BODY_18": Form("zed18", "zed", **TIMES),
    "ZED BODY_34": Form("zed34", "zed", **TIMES, flags={"scale": 0.001}, turn=lambda clip: clip * 1000),
    "ZED BODY_38": Form("zed38", "zed", **TIMES, flags={"up": "-y"}, turn=lambda clip: clip * [-1, -1, 1]),
    "MMPose 3D": Form("h36m17", "lifted", under("instances"), **Z_UP),
}


def record(form, frames=12):
    """A recording of two persons, of whom the second comes at frame 3: as a clip, and as frames of the tool, which list
    them in a changing order. Where there are identities the persons change places all at once."""
    skeleton = SKELETONS[form.skeleton]
    rng, joints = np.random.default_rng(0), form.joints or len(skeleton.joints)
    clip = rng.uniform(-0.4, 0.4, (2, joints, 3)) + 0.01 * np.arange(frames)[:, None, None, None]
    centers = np.array([[-1, 0, 3], [1, 0, 3]])[:, None]
    clip[:6] += centers
    clip[6:] += centers[::-1] if form.has_identities else centers
    if skeleton.is_2d:
        clip = np.round(clip * [150, 150, 0] + [320, 240, 0]) + [0, 0, 0.5]
        clip[:, 0, :, 2] = 0.75
    elif form.skeleton == "mediapipe33":
        clip -= clip[:, :, 23:25].mean(axis=2, keepdims=True)
    clip[:3, 1] = 0
    written, write = form.turn(clip), PERSONS[form.person]
    orders = [((0, 1), (1, 0))[t % 2] for t in range(frames)]
    people = [[write(written[t, i], i) for i in order if clip[t, i].any()] for t, order in enumerate(orders)]
    if skeleton.is_2d:
        clip[clip.any(axis=(2, 3))] -= [320, 240, 0]
        clip /= [640, 480, 1]
    return clip[:, :, : len(skeleton.joints)], [form.frame(t, some) for t, some in enumerate(people)]
