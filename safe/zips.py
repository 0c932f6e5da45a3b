"""Files of a data set that come as a zip or as the folder unpacked from it."""

import zipfile
import zlib
from pathlib import Path

from safe.program import progress
from util import UserError, name_file_in_errors, regular, shorten

# What reading one may raise; the last of one with a password, or of a version that is not implemented
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
LARGEST = 2**26  # bytes of a file in it; those of the data sets have less than one million


def read_members(source, name, example):
    """Yields (match, bytes) of each file below a folder or in a zip whose name fully matches, in name order.

    name: a compiled pattern. example: such a name, for errors. Raises UserError.
    """
    if source.is_dir():
        found = [(path, lambda path=path: regular(path).read_bytes()) for path in source.rglob("*")]
    else:
        try:
            with name_file_in_errors(source):
                archive = zipfile.ZipFile(regular(source))
        except DAMAGED_ZIP:
            raise UserError(f"{source}: neither a folder nor a zip file") from None
        parts = archive.infolist()
        if large := [part.filename for part in parts if part.file_size > LARGEST]:
            raise UserError(f"{source}: {shorten(large[0])} in it is larger than {LARGEST >> 20} MB")
        found = [(Path(part.filename), lambda part=part: archive.read(part)) for part in parts]
    reads = {}
    for path, read in found:
        if name.fullmatch(path.name):
            if path.name in reads:
                raise UserError(f"{source}: two files in it have the name {path.name}; remove one of them")
            reads[path.name] = read
    if not reads:
        raise UserError(f"{source}: no clip named like {example} in it")
    for file in progress(sorted(reads), unit="clip"):
        try:
            with name_file_in_errors(source):
                content = reads[file]()
        except DAMAGED_ZIP as error:
            raise UserError(f"{source}: {file} in it is damaged ({error})") from None
        yield name.fullmatch(file), content
