"""Files that several processes use, and h5 files from anywhere, that are whole in themselves."""

import os
import socket
import sys
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py

from util import UserError, folders_of, name_file_in_errors, regular, shorten

try:
    import fcntl
except ImportError:  # Windows has no such locks: start one run at a time in a folder
    fcntl = None


@contextmanager
def exclusive_lock(path):
    """Holds a lock on the file `path` while the block runs; then the file goes, and the folders made for it if empty.

    Raises UserError if another holds it. The system releases the lock however the process ends. Without support for
    locks (Windows, some network drives) a line says so.
    """
    path = Path(path)
    with folders_of(path), open(path, "ab") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.fstat(file.fileno()).st_nlink:  # its owner has just removed it: nobody else would find it
                    raise BlockingIOError
        except BlockingIOError:
            raise UserError(f"{path.parent}: another run is writing there; wait for it, or stop it") from None
        except OSError as error:
            print(f"{path}: no lock ({error.strerror}); start one run at a time", file=sys.stderr)
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no file that is open
                path.unlink()


def state_of(path):
    """A text that changes whenever the file does: every write sets its ctime, which no program can set back."""
    stat = regular(path).stat()
    return f"{stat.st_size} bytes, inode {stat.st_ino}, {stat.st_mtime_ns}, {stat.st_ctime_ns} ns"


def remove_stale_parts(folder, prefix=""):
    """Removes temporary files of `atomic_write`, of names that start with `prefix`, whose process was killed.

    Only those of this machine: another may be writing to the same drive.
    """
    if os.name != "posix":  # os.kill would end the process
        return
    for part in Path(folder).glob(f"{prefix}*.{socket.gethostname()}.*.part"):
        try:
            os.kill(int(part.suffixes[-2][1:]), 0)
        except ProcessLookupError:
            part.unlink(missing_ok=True)
        except (OSError, OverflowError, ValueError):  # it is somebody else's
            pass


@contextmanager
def open_h5(path):
    """For a with statement: the open h5py.File. Its root group leads to nothing outside of it.

    Raises UserError, in the block too, for what h5py cannot read, and if it leads elsewhere; OSError for a file that is
    missing, or no regular file. All else that the block raises, and a lack of memory, comes out as it is.
    """
    try:
        with h5py.File(regular(path)) as file:
            _check_is_whole(file)
            yield file
    except Exception as error:
        modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
        of_h5py = any(name.startswith("h5py.") for name in modules)
        if isinstance(error, UserError | MemoryError) or not of_h5py:
            raise
        with name_file_in_errors(path):
            if isinstance(error, OSError) and (error.errno or "errno = " in str(error)):  # the system's
                raise
        raise UserError(f"{path}: cannot be read as h5 ({shorten(error, 150)})") from None


def _check_is_whole(file):
    """HDF5 follows links to any path, and opens a device there: raises UserError for what may lead out of the file."""
    for name in file:
        inside = isinstance(file.get(name, getlink=True), h5py.HardLink)
        if inside and isinstance(member := file[name], h5py.Dataset):
            inside = not (member.is_virtual or member.external)
        if not inside:
            raise UserError(f"{file.filename}: {name} is a link, or stored elsewhere; copy the data into the file")
