"""torch as a guest in an application: loading it gently, threads, devices, memory.

Importing this module does not import torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from napari_unet.errors import ResourceError

if TYPE_CHECKING:
    import torch


_SPINS = "3000"
"""How often a waiting OpenMP thread looks again before it sleeps (some 0.1 ms).

GNU OpenMP's own 300,000 burn whole scheduler slices as soon as anything else,
such as a window being drawn, wants one of the cores: measured on two cores, a
training step took 62 ms alone and 800 to 3,000 ms beside one busy process. With
this it takes 65 to 75 ms and 150 to 250 ms.
"""


def load_torch() -> None:
    """Import torch without freezing the other threads of the process.

    ``import torch`` holds the interpreter lock while the linker maps a library
    of hundreds of megabytes: 0.2 to 0.6 s in which a window does not move. A
    function called through ctypes gives the lock away, so the library is mapped
    that way first; the import then finds it in place (longest gap 0.06 s).
    """
    if "torch" in sys.modules:
        return
    with _environment("GOMP_SPINCOUNT", _SPINS):  # read once, when the library is loaded
        spec = importlib.util.find_spec("torch")
        if sys.platform == "linux" and spec is not None and spec.origin is not None:
            _map_libraries(Path(spec.origin).parent / "lib")
        import torch  # noqa: F401


def _map_libraries(folder: Path) -> None:
    """Load torch's libraries with the interpreter lock given away."""
    # Only a courtesy: without it the import works as ever.
    with contextlib.suppress(OSError, AttributeError):
        dlopen = ctypes.CDLL(None).dlopen
        dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
        for name in ("libc10.so", "libtorch_cpu.so"):
            if (folder / name).exists():
                dlopen(os.fsencode(folder / name), os.RTLD_NOW | os.RTLD_LOCAL)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable in this block unless the user has set it."""
    if name in os.environ or "OMP_WAIT_POLICY" in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def available_cores() -> int:
    """Count the CPU cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use `count` threads (None: all available cores) in this block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or available_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


class ThreadChooser:
    """Finds out, while steps are made, whether fewer threads are faster.

    Threads that share a step wait for the slowest of them: with one of two
    cores taken by another program, or by a window being drawn, two threads
    need 167 ms for a step that one thread does in 99 ms (with both cores free
    63 and 95 ms). So both are tried again and again, and the faster used.

    Parameters
    ----------
    most : int
        Threads to use at most; the alternative is half of them.
    """

    _CYCLE = 30
    _TRIES = 2

    def __init__(self, most: int) -> None:
        self._choices = (most, max(1, most // 2))
        self._best = [0.0, 0.0]
        self._step = 0

    def _choice(self) -> int:
        position = self._step % self._CYCLE
        if position < 2 * self._TRIES:
            return position // self._TRIES
        return int(self._best[1] < self._best[0])

    @property
    def threads(self) -> int:
        """How many threads to use for the next step."""
        return self._choices[self._choice()]

    @contextlib.contextmanager
    def trial(self, amount: int = 1) -> Iterator[None]:
        """Do `amount` steps' worth of work in this block, with the threads of this step."""
        import torch

        torch.set_num_threads(self.threads)
        started = time.perf_counter()
        yield
        self.took((time.perf_counter() - started) / amount)

    def took(self, seconds: float) -> None:
        """Tell how long that step took."""
        position = self._step % self._CYCLE
        if position < 2 * self._TRIES:
            choice = self._choice()
            first = position % self._TRIES == 0
            self._best[choice] = seconds if first else min(seconds, self._best[choice])
        self._step += 1


def choose_device(name: str = "auto") -> torch.device:
    """Find the device to compute on: CUDA, then Apple MPS, then the CPU."""
    import torch

    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a failure means that memory ran out, on whatever device."""
    text = str(error).lower()
    signs = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in text for sign in signs)
    )


@contextlib.contextmanager
def memory_errors_explained(remedy: str) -> Iterator[None]:
    """Turn an out-of-memory failure in this block into a sentence.

    Parameters
    ----------
    remedy : str
        What the user can do about it, a full sentence.

    Raises
    ------
    ResourceError
        Instead of MemoryError or torch's RuntimeError.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise ResourceError(f"The computer ran out of memory. {remedy}") from error
        raise
