"""Files that several processes write: locks, and what killed ones left."""

import os
import re
import socket
import sys
from contextlib import contextmanager
from pathlib import Path

from util import UserError

try:
    import fcntl
except ImportError:  # Windows has no such locks: start one run at a time in a folder
    fcntl = None


@contextmanager
def exclusive_lock(path, wait=False):
    """Holds a lock on the file `path`, which is created and stays, while the block runs.

    wait: wait for whoever holds it; otherwise raise UserError. The system releases the lock however the process ends.
    Without support for locks (Windows, some network drives) a line says so.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UserError(f"{path.parent}: another run is writing there; wait for it, or stop it") from None
        except OSError as error:
            print(f"{path}: no lock ({error.strerror}); start one run at a time", file=sys.stderr)
        yield


def remove_stale_parts(folder, prefix=""):
    """Removes temporary files of `atomic_write`, of names that start with `prefix`, whose process was killed.

    Only those of this machine: another may be writing to the same drive.
    """
    own = re.compile(rf".*\.{re.escape(socket.gethostname())}\.(\d{{1,9}})\.part")
    for part in Path(folder).glob(f"{prefix}*.part"):
        if (found := own.fullmatch(part.name)) and not _is_alive(int(found[1])):
            part.unlink(missing_ok=True)


def _is_alive(process):
    if os.name != "posix":  # elsewhere os.kill would end the process
        return True
    try:
        os.kill(process, 0)
    except OSError as error:  # it may belong to somebody else
        return not isinstance(error, ProcessLookupError)
    return True
