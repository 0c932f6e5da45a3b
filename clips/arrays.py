"""Recordings and whole sets that are arrays of numbers, which do not say what their axes are."""

import re
from functools import cache
from itertools import combinations, pairwise
from math import prod

import numpy as np

from clips.skeletons import known_skeleton
from clips.skipped import BadFile, read_bytes
from safe.mat import read_mat
from util import regular, shorten

LETTERS = "TMVC"  # frames, persons, joints, and the values of a joint: x, y, z and perhaps a score
# Orders of axes in which people have arrays; where letters stand together, and share an axis, joints must be known
ORDERS = ("T V C", "T M V C", "M T V C", "C T V", "C T V M", "V C T", "T C V")
SHARED = ("TV C", "T VC", "T MVC")
LARGEST = 2**28  # bytes of a text
NAN = "; --nan absent takes a joint with NaN for absent"
ABSENT = "joints that are absent (NaN) are put where they are in the frames around, or at the joint they hang on"


def read_array(path):
    """The array in a .npy, in a .mat, or in a .txt or .csv: a row a line, numbers parted by blanks or commas, perhaps
    after a line of names; and these names of columns. Raises BadFile, OSError."""
    try:
        if (suffix := regular(path).suffix.lower()) == ".npy":  # mapped: no memory is allocated by the header alone
            return np.lib.format.open_memmap(path, mode="r"), ()
        if suffix == ".mat":
            found = {name: array for name, array in read_mat(path, path.read_bytes()).items() if array.size > 1}
            if len(found) != 1:
                raise ValueError(f"arrays of numbers in it: {', '.join(found) or 'none'}; one is wanted")
            return next(iter(found.values())), ()
        lines = read_bytes(path, LARGEST).decode("utf-8-sig").replace(",", " ").splitlines()
        names = lines[0].split() if lines and _is_heading(lines[0]) else ()
        return np.loadtxt(lines, ndmin=2, skiprows=int(bool(names))), names
    except (OSError, MemoryError, BadFile):
        raise
    except Exception as error:  # NumPy raises many types for a damaged header
        why = shorten(str(error).removeprefix(f"{path}: "), 150)
        raise BadFile(None, f"not an array of numbers ({why})") from None


def _is_heading(line):
    """Whether a line is of names of columns, or of their numbers from 0 or 1, as pandas writes them."""
    fields = line.split()
    numbers = [[str(first + i) for i in range(len(fields))] for first in (0, 1)]
    return len(fields) > 4 and fields in numbers or bool(re.search("[a-z]", re.sub("nan|inf|e", "", line.lower())))


def arrange(array, joints=None, axes=None):
    """An array as (frames, persons, joints, 3), and the order of the axes that it was taken for.

    joints: how many, None if that is not known. axes: the order in the file, letters of LETTERS, such as "VCT". The
    file may have neighbours in one axis: (frames, joints * 3) is "TVC" too. Without `axes` the sizes tell, if just one
    order fits them. A fourth value of a joint is dropped. Raises BadFile.
    """
    name, word, sizes = find_axes(array.shape, joints, axes)
    clip = array.reshape([sizes[letter] for letter in word])
    return clip.transpose([word.index(letter) for letter in LETTERS])[..., :3], name


@cache
def find_axes(shape, joints=None, axes=None):
    """The order of the axes of an array (see `arrange`) without those of size 1, with them, and {letter: size}."""
    if axes:
        cuts = combinations(range(1, len(axes)), len(shape) - 1)
        orders = [[axes[a:b] for a, b in pairwise((0, *at, len(axes)))] for at in cuts]
    else:
        orders = [order.split() for order in ORDERS + SHARED * bool(joints) if order.count(" ") == len(shape) - 1]
    fits = {}
    for groups in orders:
        for values in (3, 4):
            sizes = _sizes(shape, groups, {"C": values} | ({"V": joints} if joints else {}))
            if sizes and (axes or sizes["M"] <= sizes["T"]):
                word = "".join(groups)
                fits.setdefault("".join(letter for letter in word if sizes[letter] > 1), (word, sizes))
    if len(fits) != 1:
        of = f" of {joints} joints (--skeleton)" if joints else ""
        fault = f"may be {' or '.join(sorted(fits))}" if fits else f"is not {axes or 'TVC or VCT'}{of}"
        alone = "; to x and y alone add a third value, the joint's score or 1" * (shape[-1] == 2 and not fits)
        how = f"say which with --axes (T frames, M persons, V joints, C coordinates){alone}"
        raise BadFile(None, f"an array of shape {shape} {fault}; {how}")
    ((name, (word, sizes)),) = fits.items()
    return name, word if "M" in word else "M" + word, sizes


def _sizes(shape, groups, known):
    """{letter: size} if axes of these letters can have this shape, else None. Of each axis, the first of frames, joints
    and persons that is not known takes what is left."""
    sizes = {"M": 1, **known}
    for group, size in zip(groups, shape, strict=True):
        free = [letter for letter in "TVM" if letter in group and letter not in known]
        sizes |= dict.fromkeys(free, 1)
        fixed = prod(sizes[letter] for letter in group)
        if not size or size % fixed or not free and size != fixed:
            return None
        if free:
            sizes[free[0]] = size // fixed
    return sizes


def order_axes(array, known, axes=None):
    """An array of a recording as (frames, persons, joints, 3), and notes. known: its Skeleton, or None.

    Raises BadFile for what is not sure, without `axes`.
    """
    joints, shape = known and len(known.joints), array.shape
    joints = 33 if 33 in shape and joints not in shape else joints
    if axes and len(axes) > 1:
        return arrange(array, joints, axes)[0], ()
    numbered = array.ndim == 2 and shape[1] % 3 == 1 and shape[1] > 4 and _are_numbers(array[:, 0])
    array = array[:, 1:] if numbered else array
    name, word, sizes = find_axes(array.shape, joints)
    if word == "MTVC" and array.ndim == 4:
        why = "is it (persons, frames, joints, 3)? Then use --axes MTVC, else --axes TMVC"
        raise BadFile(None, f"{shape[0]} frames of {shape[1]} persons: {why}")
    note = f"axes of arrays are taken for {name} (T frames, M persons, V joints, C values), else use --axes"
    note += ", and a fourth value of joints is left out" * (sizes["C"] == 4)
    note += ", and the first column for numbers of frames" * numbered
    certain = word in ("MTVC", "TMVC") and sizes["C"] == 3 and array.ndim > 2
    return arrange(array, joints)[0], () if certain else (note,)


def _are_numbers(column):
    return len(column) > 1 and bool((np.diff(column) > 0).all() and (column == column.round()).all())


# ---- joints that are absent


def absent_if_nan(clip, flag=None):
    """A clip, (..., joints, values), with NaN for each joint that has NaN or infinity, if `flag`, the --nan, says that
    these are absent. Raises BadFile without it."""
    bad = ~np.isfinite(clip).all(axis=-1)
    if bad.any() and flag != "absent":
        raise BadFile(None, f"NaN or infinity in {bad.sum():,} of {bad.size:,} joints{NAN}")
    return np.where(bad[..., None], clip.dtype.type(np.nan), clip) if bad.any() else clip


def fill_absent(clip, skeleton):
    """A clip, (frames, persons, joints, 3), in which joints that are NaN get a place; in 2D, zeros.

    A joint moves evenly from the last frame that shows it to the next. If none does, it is where the joint is on which
    it hangs; if that has no place either, in the middle of the person. A person without joints becomes zeros.
    """
    absent, known = np.isnan(clip), known_skeleton(skeleton)
    if not absent.any() or known and known.is_2d:
        return np.where(absent, 0, clip)
    clip = np.where(absent.all(axis=(2, 3), keepdims=True), 0, clip)
    for person, joint in np.argwhere(np.isnan(clip[..., 0]).any(axis=0)):
        path, there = clip[:, person, joint], clip[:, person].any(axis=(1, 2))  # a view; NaN counts as any
        lost, shown = np.isnan(path[:, 0]), there & ~np.isnan(path[:, 0])
        for axis in range(3) if shown.any() else ():
            path[lost, axis] = np.interp(np.flatnonzero(lost), np.flatnonzero(shown), path[shown, axis])
    for _ in known.parents if known else ():
        clip = np.where(np.isnan(clip), clip[:, :, list(known.parents)], clip)
    return np.where(np.isnan(clip), np.nanmean(clip, axis=2, keepdims=True), clip)
