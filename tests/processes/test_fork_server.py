"""The fork server: a process starts even where the server has just been killed."""

import multiprocessing
import os
import time

import pytest
from ddbench.processes.fork_server import end_server, start_method, try_to_start


@pytest.mark.skipif(start_method() != "forkserver", reason="processes are not forked here")
def test_a_process_starts_where_the_server_is_just_ending():
    context = multiprocessing.get_context("forkserver")
    for _ in range(3):
        faults = []
        first, second = (context.Process(target=time.time) for _ in range(2))
        try_to_start(first, faults)
        end_server()
        try_to_start(second, faults)
        assert not faults
        second.join(60)
        assert second.exitcode == 0 and second.pid != os.getpid()
