"""The data sets that the project knows by name, where their h5 files are, and what is odd about one that trains."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import util
from clips.checks import describe_empty
from clips.skeletons import KINECT_V1, KINECT_V2, OPENPOSE18, Skeleton
from clips.units import FRAMES, SAMPLE, find_odd, pick
from safe import arguments


@dataclass(frozen=True)
class Dataset:
    """What the project knows of a data set besides its h5 files."""

    folder: str  # below data/
    files: tuple[str, ...]  # the h5 of case 0, case 1, ...
    cross_view: tuple[bool, ...]  # case by case: the test clips are seen from other directions than the training clips
    window: int  # frames that a stream classifier looks at: about the clips' mean length, a multiple of 20
    how: str  # to make the h5
    skeleton: Skeleton | None  # of checkpoints that do not state theirs


_NTU_HOW = "run the three scripts of data/ntu on the .skeleton files (docs/data.md)"
DATASETS = {
    "NTU": Dataset("ntu", ("NTU_CS.h5", "NTU_CV.h5"), (False, True), 80, _NTU_HOW, KINECT_V2),
    "NTU120": Dataset("ntu", ("NTU120_CS.h5", "NTU120_CSet.h5"), (False, False), 80, _NTU_HOW, KINECT_V2),
    "NUCLA": Dataset("nucla", ("NUCLA_CV.h5",), (True,), 40, "run data/nucla/make_nucla.py all_sqe.zip", KINECT_V1),
    "UTDMHAD": Dataset(
        "utd_mhad", ("UTDMHAD_CS.h5",), (False,), 60, "run data/utd_mhad/make_utd_mhad.py Skeleton.zip", KINECT_V1
    ),
    "MSRACTION3D": Dataset(
        "msraction3d",
        ("MSRACTION3D_CS.h5",),
        (False,),
        40,
        "run data/msraction3d/make_msraction3d.py MSRAction3DSkeletonReal3D.zip",
        KINECT_V1,
    ),
    "SYSU": Dataset(
        "sysu", ("SYSU_CS.h5", "SYSU_SS.h5"), (False, False), 80, "run data/sysu/make_sysu.py FOLDER", KINECT_V1
    ),
    "KINETICS": Dataset(
        "kinetics", ("KINETICS_val.h5",), (False,), 80, "run data/kinetics/make_kinetics.py FOLDER", OPENPOSE18
    ),
    "DEMO": Dataset("demo", ("DEMO_CS.h5", "DEMO_CV.h5"), (False, True), 60, "run data/demo/make_demo.py", KINECT_V2),
}
OTHER = Dataset("", (), (False,), 80, "docs/data.md shows how to write one", None)  # an h5 that is given by its path
ALIASES = {
    "NTU60": "NTU",
    "NTURGB+D": "NTU",
    "NTU-60": "NTU",
    "NTU-120": "NTU120",
    "N-UCLA": "NUCLA",
    "UTD-MHAD": "UTDMHAD",
}


def find_h5(dataset, case, folder=None, make_demo=True):
    """The h5 of a data set's case. Returns (path, the data set's name).

    dataset: a name of DATASETS in upper or lower case, or the path of an h5 in the same layout, which has case 0 only
    and is named by its stem. folder: where the h5 is, if not in the data set's own folder. make_demo: make the demo set
    if it is not there. Raises UserError, which says how missing data are made.
    """
    if dataset.endswith((".h5", ".hdf5")):
        path, name, entry = Path(dataset), Path(dataset).stem, OTHER
        if not name.strip("."):
            raise util.UserError(f"--dataset {dataset}: results have the name of the file; rename it")
        if case != 0:
            raise util.UserError(f"--case {case}: a data set given by its path has case 0 only")
        if folder:
            raise util.UserError(f"--data is for data sets given by name; write the folder into --dataset {dataset}")
        if name in DATASETS:
            raise util.UserError(f"--dataset {dataset}: {name} is the name of a known data set; rename the file")
    else:
        name = dataset.upper()
        name = ALIASES.get(name, name)
        if name not in DATASETS:
            known = ", ".join(DATASETS)
            nearest = arguments.did_you_mean(name, DATASETS)
            raise util.UserError(f"--dataset {util.shorten(dataset)}: not {known} or the path of an .h5{nearest}")
        entry = DATASETS[name]
        if case not in range(len(entry.files)):
            cases = ", ".join(f"{i} ({Path(file).stem})" for i, file in enumerate(entry.files))
            raise util.UserError(f"--case {case}: {name} has {cases}")
        path = Path(folder or util.ROOT / "data" / entry.folder) / entry.files[case]
    if name == "DEMO" and make_demo and not folder and not path.is_file():
        print(f"{path.name} is missing: making the demo set, which takes up to a minute", file=sys.stderr)
        if subprocess.run([sys.executable, util.ROOT / "data/demo/make_demo.py"], stdout=sys.stderr).returncode:
            raise util.UserError("data/demo/make_demo.py failed; see its line above")
    if not path.exists():
        raise util.UserError(f"no data: {path} is missing; {entry.how}. --dataset DEMO needs no data")
    return path, name


def is_cross_view(dataset, case):
    """Whether a case of a data set, as in `find_h5`, tests on other views than it trains on; not known of an h5."""
    cases = DATASETS.get(ALIASES.get(dataset.upper(), dataset.upper()), OTHER).cross_view
    return cases[min(case, len(cases) - 1)]


def sample_people(clips):
    """A sample of the persons that data.Clips have for training and validation, as from units.pick."""
    ids = clips.ids("train", "valid")
    ids = ids[:: max(1, len(ids) // SAMPLE)]
    last = (clips.length[ids, None] - 1).clamp(min=0)
    frames = last * last.new_tensor(range(FRAMES)) // (FRAMES - 1)
    x = clips.gather(ids, frames).unflatten(2, (1, -1, 3)).cpu().numpy()
    return [person for clip in x for person in pick(clip)]


def find_odd_training(clips):
    """What is odd about the Clips that train: a list of lines, as tools/check_h5.py notes them."""
    labels = {*clips.label[clips.ids("train", "valid")].cpu().tolist()}
    empty = describe_empty(labels, clips.class_names)
    return [*empty, *find_odd(sample_people(clips), clips.skeleton, not clips.spatial)]
