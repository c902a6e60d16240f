"""Decoding with gdcm in a process of its own, since damaged JPEG takes that process down.

The child runs this file as a script: it imports nothing of this package.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

Decode = Callable[[Path, int, str], NDArray[Any]]
"""Gives the stored values (rows, columns) of a frame: file, number, transfer syntax."""


@contextmanager
def gdcm_process() -> Iterator[Decode]:
    """Start a process that decodes frames one by one, and end it afterwards."""
    child = subprocess.Popen(
        [sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # where libjpeg complains about damage
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        start_new_session=True,  # Ctrl-C is for whoever wants the frames
    )
    requests, answers = cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout)

    def decode(path: Path, index: int, syntax: str) -> NDArray[Any]:
        with suppress(BrokenPipeError):  # then there is no answer either
            requests.write(json.dumps([str(path.resolve()), index, syntax]).encode() + b"\n")
            requests.flush()
        answer = json.loads(answers.readline() or '{"error": "its decoder broke down"}')
        if "error" in answer:
            raise ValueError(answer["error"])
        values = np.frombuffer(answers.read(answer["bytes"]), answer["dtype"])
        return values.reshape(answer["shape"])

    try:
        yield decode
    finally:
        child.kill()
        for pipe in (requests, answers):
            with suppress(OSError):
                pipe.close()
        child.wait()


def _serve() -> None:
    """Answer requests until there are no more."""
    from pydicom.pixels.utils import pixel_array

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get among the answers
    for line in sys.stdin:
        path, index, syntax = json.loads(line)
        values = b""
        try:
            image = np.ascontiguousarray(
                pixel_array(
                    path, index=index, raw=True, decoding_plugin="gdcm", transfer_syntax_uid=syntax
                )
            )
            values = image.tobytes()
            answer = {"bytes": len(values), "dtype": image.dtype.str, "shape": image.shape}
        except Exception as error:  # of any kind, as in `headers.reading`
            answer = {"error": str(error) or type(error).__name__}
        answers.write(json.dumps(answer).encode() + b"\n" + values)
        answers.flush()


if __name__ == "__main__":
    _serve()
