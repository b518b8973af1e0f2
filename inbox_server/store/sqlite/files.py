"""Files that are complete or absent: a file gets its name once it is written, and never replaces another."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from inbox_server.store.contract import BadDatabase
from inbox_server.synced_files import make_folder, sync_folder


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Where to write what is called `target` once the context ends, when it is on disk. Raises `BadDatabase`."""
    check_free(target)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}.", suffix=".partial") as folder:
            partial = Path(folder) / target.name
            partial.touch(mode=0o600)
            yield partial
            sync(partial)
            try:
                os.link(partial, target)  # unlike a rename, it never replaces a file that appeared meanwhile
            except FileExistsError:
                raise _taken(target) from None
            except OSError:  # not every filesystem has hard links
                partial.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise BadDatabase(f"{target} cannot be written: {error.strerror}.") from error


def check_free(target: Path) -> None:
    """That nothing has this name, nor left its log: SQLite would write it into the new file. Raises `BadDatabase`."""
    if target.exists() or target.is_symlink():
        raise _taken(target)
    for log in (target.with_name(f"{target.name}-wal"), target.with_name(f"{target.name}-journal")):
        if log.exists() and log.stat().st_size:
            raise BadDatabase(
                f"{target} is gone, but {log.name} is there and holds what was written to it last."
                " Put the file back that it belongs to, or move the log away too."
            )


def _taken(target: Path) -> BadDatabase:
    return BadDatabase(f"{target} exists already, and was left as it is. Move it away, or name another file.")


def make_private(folder: Path) -> None:
    """Make a directory that only its owner can read, or take the one that is there. Raises `BadDatabase`."""
    if folder.is_symlink() and not folder.exists():
        raise BadDatabase(f"{folder} is a link to {folder.readlink()}, which is not there. Put that directory back.")
    try:
        make_folder(folder, mode=0o700)
    except OSError as error:
        raise BadDatabase(
            f"{folder} cannot be created: {error.strerror}. Create it, or set server.data_dir."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadDatabase(f"{folder} cannot be written. Give it to the user that runs the server.")


def keep_owner(path: Path, folder: Path) -> None:
    """Give what root wrote into a data directory to the directory's owner, who must be able to open it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def check_mine(path: Path) -> None:
    """That this user may write to what is there, if anything is. Raises `BadDatabase`."""
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise BadDatabase(
            f"{path} belongs to another user ({path.stat().st_uid}). Give it to the owner of the directory; as root:"
            f" chown --reference={path.parent} {path}"
        )


def sync(path: Path) -> None:
    """Wait until a file is on disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
