"""An image process that does to itself what its jobs say, run as `python toy_image_process.py FOLDER DESCRIPTOR`.

A job is the file of a `DecodeImage`: `echo ...` comes back, `wait ...` waits for a file of that name in the folder, a
signal's name is raised, `garble` breaks the pipe's rules. Of any other message it dies. Each start adds a line to the
folder's file `starts`; where there is a file `broken` the process ends at once, and while there is `slow` it does not
come up.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

from server.ipc.framing import encode, receive_blocking
from server.ipc.protocol import TO_IMAGE_PROCESS, DecodeImage, ImageEncoded, ImageProcessReady


def main(folder: Path, descriptor: int) -> None:
    with (folder / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    if (folder / "broken").exists():
        return
    while (folder / "slow").exists():
        time.sleep(0.005)
    with socket.socket(fileno=descriptor) as pipe:
        pipe.sendall(b"".join(encode(ImageProcessReady())))
        while (job := receive_blocking(pipe, TO_IMAGE_PROCESS)) is not None:
            assert isinstance(job, DecodeImage)
            what, _, rest = job.file.decode().partition(" ")
            if what.startswith("SIG"):
                os.kill(os.getpid(), getattr(signal, what))
            if what == "garble":
                pipe.sendall(b"\xff" * 64)
            while what == "wait" and not (folder / rest).exists():
                time.sleep(0.005)
            for buffer in encode(ImageEncoded(file=job.file)):
                pipe.sendall(buffer)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
