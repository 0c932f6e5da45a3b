"""What reading a damaged zip may raise."""

import zipfile
import zlib

DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)
