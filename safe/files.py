"""Files that several processes use, and h5 files from anywhere, that are whole in themselves."""

import os
import re
import socket
import sys
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py

from util import UserError, name_file_in_errors, regular, shorten

try:
    import fcntl
except ImportError:  # Windows has no such locks: start one run at a time in a folder
    fcntl = None


@contextmanager
def exclusive_lock(path, wait=False):
    """Holds a lock on the file `path` while the block runs; then the file goes, and the folders made for it if empty.

    wait: wait for whoever holds it; otherwise raise UserError. The system releases the lock however the process ends.
    Without support for locks (Windows, some network drives) a line says so.
    """
    path = Path(path)
    while True:
        made = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            try:
                if fcntl:
                    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise UserError(f"{path.parent}: another run is writing there; wait for it, or stop it") from None
            except OSError as error:
                print(f"{path}: no lock ({error.strerror}); start one run at a time", file=sys.stderr)
            try:
                if fcntl and not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    continue
            except FileNotFoundError:
                continue  # who had the lock has removed it: nobody else would find this file
            try:
                yield
            finally:
                with suppress(OSError):  # Windows removes no file that is open
                    for remove in (path.unlink, *(folder.rmdir for folder in made)):
                        remove()
            return


def state_of(path):
    """A text that changes whenever the file does: every write sets its ctime, which no program can set back."""
    stat = regular(path).stat()
    return f"{stat.st_size} bytes, inode {stat.st_ino}, {stat.st_mtime_ns}, {stat.st_ctime_ns} ns"


def remove_stale_parts(folder, prefix=""):
    """Removes temporary files of `atomic_write`, of names that start with `prefix`, whose process was killed.

    Only those of this machine: another may be writing to the same drive.
    """
    own = re.compile(rf".*\.{re.escape(socket.gethostname())}\.(\d{{1,9}})\.part")
    for part in Path(folder).glob(f"{prefix}*.part"):
        if os.name == "posix" and (found := own.fullmatch(part.name)):  # elsewhere os.kill would end the process
            try:
                os.kill(int(found[1]), 0)
            except ProcessLookupError:
                part.unlink(missing_ok=True)
            except OSError:  # it is somebody else's
                pass


# ---- h5


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
