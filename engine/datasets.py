"""The data sets that the project knows by name, where their h5 files are, and what is odd about one that trains."""

import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from clips.checks import FRAMES, SAMPLE, describe_empty, find_odd, pick
from clips.skeletons import KINECT_V1, KINECT_V2, OPENPOSE18, Skeleton
from safe.program import did_you_mean
from util import ROOT, UserError, shorten


@dataclass(frozen=True)
class Dataset:
    """What the project knows of a data set besides its h5 files."""

    folder: str = ""  # below data/
    files: tuple[str, ...] = ()  # the h5 of case 0, case 1, ...
    cross_view: tuple[bool, ...] = (False,)  # by case: test clips are seen from other directions than training clips
    window: int = 80  # frames that a live classifier looks at: about the clips' mean length, a multiple of 20
    source: str = ""  # what data/<folder>/make_<folder>.py makes the h5 from
    skeleton: Skeleton | None = None  # of checkpoints that do not state theirs

    @property
    def how(self):
        """To make the h5."""
        if self.folder == "ntu":
            return "run the three scripts of data/ntu on the .skeleton files (docs/data.md)"
        script = f"run data/{self.folder}/make_{self.folder}.py {self.source}"
        return script.strip() if self.folder else "docs/data.md shows how to write one"


DATASETS = {
    "NTU": Dataset("ntu", ("NTU_CS.h5", "NTU_CV.h5"), (False, True), skeleton=KINECT_V2),
    "NTU120": Dataset("ntu", ("NTU120_CS.h5", "NTU120_CSet.h5"), (False, False), skeleton=KINECT_V2),
    "NUCLA": Dataset("nucla", ("NUCLA_CV.h5",), (True,), 40, "all_sqe.zip", KINECT_V1),
    "UTDMHAD": Dataset("utd_mhad", ("UTDMHAD_CS.h5",), (False,), 60, "Skeleton.zip", KINECT_V1),
    "MSRACTION3D": Dataset(
        "msraction3d", ("MSRACTION3D_CS.h5",), (False,), 40, "MSRAction3DSkeletonReal3D.zip", KINECT_V1
    ),
    "SYSU": Dataset("sysu", ("SYSU_CS.h5", "SYSU_SS.h5"), (False, False), 80, "FOLDER", KINECT_V1),
    "KINETICS": Dataset("kinetics", ("KINETICS_val.h5",), (False,), 80, "FOLDER", OPENPOSE18),
    "DEMO": Dataset("demo", ("DEMO_CS.h5", "DEMO_CV.h5"), (False, True), 60, skeleton=KINECT_V2),
}
OTHER = Dataset()  # an h5 that is given by its path
ALIASES = dict.fromkeys(("NTU60", "NTURGB+D", "NTU-60"), "NTU")
ALIASES |= {"NTU-120": "NTU120", "N-UCLA": "NUCLA", "UTD-MHAD": "UTDMHAD"}


def find_h5(dataset, case, folder=None):
    """The h5 of a data set's case. Returns (path, the data set's name).

    dataset: a name of DATASETS in upper or lower case, or the path of an h5 in the same layout, which has case 0 only
    and is named by its stem. folder: where the h5 is, if not in the data set's own folder. Makes the demo set if it is
    not there. Raises UserError, which says how missing data are made.
    """
    if dataset.endswith((".h5", ".hdf5")):
        path, name, entry = Path(dataset), Path(dataset).stem, OTHER
        if name in DATASETS or not name.strip("."):
            raise UserError(f"--dataset {dataset}: its results cannot go to results/{name}; rename the file")
        if case != 0 or folder:
            raise UserError(f"--case {case}, --data: a data set given by its path has case 0 only, and its folder")
    else:
        name = _full_name(dataset)
        if name not in DATASETS:
            known = f"{', '.join(DATASETS)} or the path of an .h5{did_you_mean(name, DATASETS)}"
            raise UserError(f"--dataset {shorten(dataset)}: not {known}")
        entry = DATASETS[name]
        if case not in range(len(entry.files)):
            cases = ", ".join(f"{i} ({Path(file).stem})" for i, file in enumerate(entry.files))
            raise UserError(f"--case {case}: {name} has {cases}")
        path = Path(folder or ROOT / "data" / entry.folder) / entry.files[case]
    if name == "DEMO" and not folder and not path.is_file():
        print(f"{path.name} is missing: making the demo set, which takes up to a minute", file=sys.stderr)
        if subprocess.run([sys.executable, ROOT / "data/demo/make_demo.py"], stdout=sys.stderr).returncode:
            raise UserError("data/demo/make_demo.py failed; see its line above")
    if not path.exists():
        raise UserError(f"no data: {path} is missing; {entry.how}. --dataset DEMO needs no data")
    return path, name


def _full_name(dataset):
    return ALIASES.get(dataset.upper(), dataset.upper())


def is_cross_view(dataset, case):
    """Whether a case of a data set, as in `find_h5`, tests on other views than it trains on; not known of an h5."""
    cases = DATASETS.get(_full_name(dataset), OTHER).cross_view
    return cases[min(case, len(cases) - 1)]


@lru_cache(maxsize=1)
def sample_people(clips):
    """A sample of the persons that data.Clips have for training and validation, as from checks.pick."""
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
