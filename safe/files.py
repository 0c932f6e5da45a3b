"""Files that several processes use: locks, what killed ones left, and whether a file has changed."""

import os
import re
import socket
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

from util import UserError, regular

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
