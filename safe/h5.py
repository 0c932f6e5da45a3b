"""Opens h5 files from anywhere, that are whole in themselves."""

import traceback
from contextlib import contextmanager

import h5py

from util import UserError, name_file_in_errors, regular, shorten


class Unreadable(UserError):
    """A file is not in its format, or damaged. filename: its path, as in an OSError."""

    filename = None


def unreadable(path, why):
    error = Unreadable(f"{path}: {why}")
    error.filename = str(path)  # an attribute: exceptions come out of workers with their text alone as arguments
    return error


@contextmanager
def open_h5(path):
    """For a with statement: the open h5py.File. Its root group leads to nothing outside of it.

    Raises Unreadable, in the block too, for what h5py cannot read; UserError if it leads elsewhere; OSError for a file
    that is missing, or no regular file. All else that the block raises, and a lack of memory, comes out as it is.
    """
    try:
        with h5py.File(regular(path)) as file:
            for name in file:
                if why := _is_elsewhere(file, name):
                    raise UserError(f"{path}: {name} {why}")
            yield file
    except Exception as error:
        if isinstance(error, UserError | MemoryError) or not _is_of_h5py(error):
            raise
        with name_file_in_errors(path):
            if isinstance(error, OSError) and (error.errno or "errno = " in str(error)):  # the system's
                raise
        raise unreadable(path, f"cannot be read as h5 ({shorten(error, 150)})") from None


def _is_of_h5py(error):
    """Whether h5py raised an exception, and not our code over what it read."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(frame.f_globals.get("__name__", "").split(".")[0] == "h5py" for frame in frames)


def _is_elsewhere(file, name):
    """Why a member of an open h5 is not opened, or None. HDF5 follows links to any path, and opens a device there."""
    link = file.get(name, getlink=True)
    if isinstance(link, h5py.SoftLink):  # its path may lead through other files
        name = link.path.removeprefix("/")
        link = None if "/" in name else file.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            return f"is a link to {shorten(repr(name))}, which is no data set beside it"
    if isinstance(link, h5py.ExternalLink):
        return f"is stored in another file ({shorten(link.filename)})"
    member = file[name]
    if isinstance(member, h5py.Dataset) and (member.is_virtual or member.external):
        files = [source.file_name for source in member.virtual_sources()] if member.is_virtual else member.external[0]
        return f"is stored in another file ({shorten(files[0])})"
