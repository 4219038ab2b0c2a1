"""One process at a time in a run's folder."""

import contextlib
import json
import os
import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

from .run_folder import RunFolderError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FILE = "lock.json"
BEAT = 15.0  # seconds after which the holder shows that it lives
ORPHAN = 5.0  # seconds for which a worker may outlive the process that started it
PATIENCE = 120.0  # without a sign of life; more than network file systems cache


@contextlib.contextmanager
def locked(directory: pathlib.Path) -> Iterator[None]:
    """Keeps other processes out of a run's folder.

    The system itself gives back the locks of processes that died, on this machine.
    Where that cannot tell, as of a process on another host, a lock whose time is not
    renewed belongs to nobody.

    Raises:
        RunFolderError: another process trains this run.
        OSError: nothing can be written there.
    """
    path = directory / FILE
    file, sure = _opened(path)
    with file:
        holder = _holder(path)
        if holder and not (sure and holder.get("host") == socket.gethostname()):
            _wait_for_sign(path, holder)
        file.truncate(0)
        content = {"host": socket.gethostname(), "pid": os.getpid()}
        file.write(json.dumps(content).encode())
        file.flush()
        done = threading.Event()
        beat = threading.Thread(target=_beat, args=(path, done), daemon=True)
        beat.start()
        try:
            yield
        finally:
            done.set()
            beat.join()
            with contextlib.suppress(OSError):
                path.unlink()


def state(path: pathlib.Path) -> str:
    """What a lock file says; it stays as it is."""
    here = _holder(path).get("host") == socket.gethostname()
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return f"{_named(_holder(path))} trains this run now"
    except (OSError, AttributeError):  # nothing can be told of it
        here = False
    if here:
        return f"left by {_named(_holder(path))}, which died; the next takes it over"
    return f"of {_named(_holder(path))}, which may train this run now"


def _opened(path: pathlib.Path) -> tuple[BinaryIO, bool]:
    """The file, locked by the system; and whether that can be relied on."""
    until = time.monotonic() + ORPHAN
    while True:
        file = open(path, "ab")  # noqa: SIM115
        try:
            if fcntl is None:
                return file, False
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have removed the file after it was opened here.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file, True
        except BlockingIOError:
            if time.monotonic() > until:
                file.close()
                raise _taken(path, _holder(path)) from None
            time.sleep(0.2)
        except OSError:  # a file system without locks
            return file, False
        file.close()


def _holder(path: pathlib.Path) -> dict:
    try:
        holder = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _wait_for_sign(path: pathlib.Path, holder: dict) -> None:
    """Returns when the holder has not renewed its lock for long enough."""
    found, until = path.stat().st_mtime, time.monotonic() + PATIENCE
    print(f"{path}: waiting whether {_named(holder)} still trains this run")
    while time.monotonic() < until:
        time.sleep(min(1.0, PATIENCE / 10))
        if not path.exists() or path.stat().st_mtime != found:
            raise _taken(path, holder)


def _beat(path: pathlib.Path, done: threading.Event) -> None:
    while not done.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)


def _named(holder: dict) -> str:
    return f"pid {holder.get('pid', '?')} on {holder.get('host', 'an unknown host')}"


def _taken(path: pathlib.Path, holder: dict) -> RunFolderError:
    return RunFolderError(
        f"{path.parent} must be trained in by one process at a time. Received: another "
        f"process trains this run ({_named(holder)}). Wait until it ends, or choose "
        "another folder."
    )
