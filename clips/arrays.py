"""Recordings and whole sets that are arrays of numbers, which do not say what their axes are."""

from itertools import chain, combinations, pairwise, permutations
from math import prod

import numpy as np

from clips.skipped import BadFile
from safe.mat import read_mat
from util import UserError, regular, shorten

LETTERS = "TMVC"  # frames, persons, joints, and the values of a joint: x, y, z and perhaps a score
SUFFIXES = (".mat", ".txt", ".csv")
LARGEST = 2**28  # bytes of a text


def read_array(path):
    """The array of numbers in a .mat, or in a .txt or .csv: a row a line, numbers parted by blanks or commas. Raises
    BadFile, OSError."""
    if path.suffix == ".mat":
        try:
            found = {name: value for name, value in read_mat(path).items() if value.size > 1}
        except UserError as error:
            raise BadFile(None, str(error).removeprefix(f"{path}: ")) from None
        if len(found) != 1:
            raise BadFile(None, f"arrays of numbers in it: {shorten(', '.join(found)) or 'none'}; one is read")
        return next(iter(found.values()))
    if regular(path).stat().st_size > LARGEST:
        raise BadFile(None, f"larger than {LARGEST >> 20} MB")
    try:
        text = path.read_text(encoding="utf-8-sig").replace(",", " ")
        return np.loadtxt(text.splitlines(), ndmin=2)
    except ValueError as error:
        raise BadFile(None, f"not lines of as many numbers each ({shorten(error, 150)})") from None


def arrange(array, joints=None, axes=None):
    """An array as (frames, persons, joints, 3), and the order of the axes that it was taken for.

    joints: how many, None if that is not known. axes: the order in the file, letters of LETTERS, such as "VCT". The
    file may have neighbours in one axis: (frames, joints * 3) is "TVC" too. Without `axes` the sizes tell, if only one
    order fits them. A fourth value of a joint is dropped. Raises BadFile.
    """
    fits = {}
    for word in [axes] if axes else map("".join, chain(permutations("TVC"), permutations(LETTERS))):
        for cuts in combinations(range(1, len(word)), array.ndim - 1):
            groups = [word[a:b] for a, b in pairwise((0, *cuts, len(word)))]
            for values in (3, 4):
                sizes = _sizes(array.shape, groups, {"C": values} | ({"V": joints} if joints else {}))
                if sizes and (axes or _is_plausible(groups, sizes)):
                    fits.setdefault("".join(letter for letter in word if sizes[letter] > 1), (word, sizes))
    if len(fits) != 1:
        what = f"an array of shape {array.shape}" + f", and {joints} joints" * bool(joints)
        may = f"may be {' or '.join(sorted(fits))}; say which with --axes" if fits else f"is not {axes or 'TVC or VCT'}"
        raise BadFile(None, f"{what}: it {may} (T frames, M persons, V joints, C coordinates)")
    ((name, (word, sizes)),) = fits.items()
    word = word if "M" in word else "M" + word
    clip = array.reshape([sizes[letter] for letter in word])
    return clip.transpose([word.index(letter) for letter in LETTERS])[..., :3], name


def _sizes(shape, groups, known):
    """{letter: size} if axes of these letters can have this shape, else None. Of each axis, the first of frames, joints
    and persons that is not known takes what is left."""
    sizes = {"M": 1, **known}
    for group, size in zip(groups, shape, strict=True):
        free = [letter for letter in "TVM" if letter in group and letter not in known]
        sizes |= dict.fromkeys(free, 1)
        fixed = prod(sizes[letter] for letter in group)
        if size % fixed or not free and size != fixed:
            return None
        if free:
            sizes[free[0]] = size // fixed
    return sizes


def _is_plausible(groups, sizes):
    """Whether axes are as people write them: more frames than persons, and what shares an axis in the usual order."""
    usual = all("".join(sorted(group, key=LETTERS.index)) == group for group in groups)
    alone = len(groups) == 4 or "M" not in "".join(groups) or groups == ["T", "MVC"]
    return usual and alone and sizes["M"] <= sizes["T"]


def absent_if_nan(clip, flag=None):
    """A clip, (..., joints, values), with joints that have NaN or infinity as absent, all zeros, if the flag --nan says
    so. Raises BadFile without it."""
    bad = ~np.isfinite(clip).all(axis=-1)
    if bad.any() and flag != "absent":
        raise BadFile(
            None, f"NaN or infinity in {bad.sum():,} of {bad.size:,} joints: --nan absent takes these for absent"
        )
    return np.where(bad[..., None], clip.dtype.type(0), clip) if bad.any() else clip
