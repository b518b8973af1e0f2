"""Files and folders that a power cut leaves as they were written: their bytes are on disk, and so are their names."""

import errno
import itertools
import os
from pathlib import Path
from typing import Final

# Some network shares sync files but not folders; there a rename is as safe as the share makes it.
_CANNOT: Final = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def sync_folder(folder: Path) -> None:
    """A new name is on disk only when its folder is. Raises OSError when the disk fails."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    finally:
        os.close(number)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder that is not there, and those above it. Raises OSError."""
    missing = [*itertools.takewhile(lambda each: not each.exists(), (folder, *folder.parents))]
    for each in reversed(missing):
        each.mkdir(mode=mode if each == folder else 0o777, exist_ok=True)
        sync_folder(each.parent)


def write_new_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file that is not there, or leave nothing. Raises OSError, such as `FileExistsError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError:
        path.unlink()
        raise


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that takes the place of one that is there, with its mode and owner. Raises OSError.

    After a power cut it is the old one or the new one as a whole.
    """
    old, new = path.stat(), path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)  # left by a kill
    write_new_file(new, content, mode=old.st_mode & 0o777)
    if os.geteuid() == 0:
        os.chown(new, old.st_uid, old.st_gid)
    new.replace(path)
    sync_folder(path.parent)
