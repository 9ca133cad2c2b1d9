"""Imported by a training (`--import processor_time`): its minutes are of its processor's time.

So trainings can be compared on a machine that others use, too: what takes the processor away for a
while takes no minutes from a training.
"""

import time

time.monotonic = time.process_time
