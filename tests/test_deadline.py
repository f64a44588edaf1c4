import subprocess
import sys
import threading
import time

import pytest

from topogen.deadline import Deadline, OutOfTime


def endless():
    while True:
        sum(range(100))


def test_work_that_never_asks_is_stopped():
    deadline = Deadline(0.1)
    with pytest.raises(OutOfTime), deadline.interrupting():
        endless()
    assert deadline.over
    with pytest.raises(OutOfTime), deadline.interrupting():
        pass  # no time is left to begin


def test_it_is_the_thread_of_the_block_that_is_stopped():
    stopped = []

    def work():
        try:
            with Deadline(0.1).interrupting():
                endless()
        except OutOfTime:
            stopped.append(threading.get_ident())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert stopped == [thread.ident]


def test_a_block_that_ends_in_time_is_left_alone():
    for _ in range(200):
        try:
            with Deadline(1e-3).interrupting():
                sum(range(1000))
        except OutOfTime:
            pass
    time.sleep(0.01)
    sum(range(100_000))  # nothing comes late


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [100.0, 1e-4])
def test_the_interpreter_is_left_as_it_was(seconds):
    # in a process of its own: what is left behind would stop a profiler for ever
    program = f"""
import cProfile, sys
from topogen.deadline import Deadline, OutOfTime
for _ in range(50):
    try:
        with Deadline({seconds}).interrupting():
            sum(range(1000))
    except OutOfTime:
        pass
seen = []
sys.setprofile(lambda *event: seen.append(event))
(lambda: None)()
sys.setprofile(None)
cProfile.run("sum(range(10))")
print(len(seen) > 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.endswith("True\n")


def test_no_limit():
    deadline = Deadline(None)
    with deadline.interrupting():
        pass
    assert (deadline.left, deadline.over) == (None, False)
