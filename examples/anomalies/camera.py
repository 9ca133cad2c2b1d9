"""Play films as a camera would: python -m examples.anomalies.camera MINUTES FILM... | foreframe ...

Frames go to standard output as .npy, at their speed, the films again and again; for two seconds of
every minute something grey is held before the camera.
"""

import sys
import time
from itertools import cycle

import numpy as np

import foreframe


def main() -> None:
    end = time.monotonic() + 60 * float(sys.argv[1])
    films = [foreframe.clips_from(path, colour="grey", cuts=False)[0] for path in sys.argv[2:]]
    for film in cycle(films):
        step = float(film.step or 0.04)
        for k in range(len(film)):
            due = time.monotonic() + step
            frame = film.frames[k : k + 1][0].copy()
            if time.time() % 60 < 2:
                h, w = frame.shape[1:]
                frame[:, h // 3 : h // 2, w // 3 : w // 2] = 90
            np.save(sys.stdout.buffer, frame)
            sys.stdout.buffer.flush()
            if due > end:
                return
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
