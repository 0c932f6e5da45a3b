"""Opens h5 files from anywhere, that are whole in themselves."""

import traceback
from contextlib import contextmanager

import h5py

from util import UserError, name_file_in_errors, regular, shorten


@contextmanager
def open_h5(path):
    """For a with statement: the open h5py.File. Its root group leads to nothing outside of it.

    Raises UserError, in the block too, for what h5py cannot read, and if it leads elsewhere; OSError for a file that is
    missing, or no regular file. All else that the block raises, and a lack of memory, comes out as it is.
    """
    try:
        with h5py.File(regular(path)) as file:
            for name in file:
                _check_is_inside(file, name)
            yield file
    except Exception as error:
        frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
        of_h5py = any(frame.f_globals.get("__name__", "").split(".")[0] == "h5py" for frame in frames)
        if isinstance(error, UserError | MemoryError) or not of_h5py:
            raise
        with name_file_in_errors(path):
            if isinstance(error, OSError) and (error.errno or "errno = " in str(error)):  # the system's
                raise
        raise UserError(f"{path}: cannot be read as h5 ({shorten(error, 150)})") from None


def _check_is_inside(file, name):
    """HDF5 follows links to any path, and opens a device there: raises UserError for what leads out of the file."""
    link, where = file.get(name, getlink=True), None
    if isinstance(link, h5py.SoftLink):  # its path may lead through other files
        target = link.path.removeprefix("/")
        if "/" in target or not isinstance(file.get(target, getlink=True), h5py.HardLink):
            where = f"at {target!r}, which is no data set beside it"
    elif isinstance(link, h5py.ExternalLink):
        where = link.filename
    if where is None and isinstance(member := file[name], h5py.Dataset):
        files = [source.file_name for source in member.virtual_sources()] if member.is_virtual else []
        where = next(iter(files + [part[0] for part in member.external or ()]), None)
    if where is not None:
        raise UserError(f"{file.filename}: {name} is stored elsewhere ({shorten(where)})")
