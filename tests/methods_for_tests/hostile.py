"""A method that does, at its second step, whatever harm its option `act` names. For the tests."""

import ctypes
import importlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from ddbench import MethodInfo, SyntheticSet, hookimpl
from torch.utils.data import DataLoader, TensorDataset


@dataclass(frozen=True)
class Config:
    act: str = "nothing"


@dataclass
class State:
    images: torch.Tensor
    labels: torch.Tensor
    act: str
    note: str = ""


def _close_streams() -> None:
    sys.stdout.close()
    os.close(1)


def _hold_memory() -> None:
    held = []
    while True:
        held.append(torch.ones(2**22))  # 16 MiB, written to
        time.sleep(0.01)


def _share_memory() -> None:
    held = torch.ones(2**26)  # 256 MiB
    for _ in range(4):
        _fork(lambda: time.sleep(2.0))
    time.sleep(1.5)  # in which the run looks at what they hold
    del held


def _print_much() -> None:
    for number in range(300_000):
        print(f"line {number:06d} of a very chatty method")


def _print_from_c() -> None:
    libc = ctypes.CDLL(None)
    libc.puts(b"from below Python")
    libc.fflush(None)


def _fork(act) -> None:
    if os.fork() == 0:
        act()
        os._exit(0)


def _crash_with_children() -> None:
    _fork(lambda: time.sleep(3600))
    _fork(lambda: (os.setsid(), time.sleep(20)))  # in no group of ours, so nobody ends it
    time.sleep(0.2)  # until they are there
    ctypes.string_at(0)


def _hold_the_interpreter() -> None:
    subprocess.Popen(["sleep", "3602.25"])
    ctypes.PyDLL(None).sleep(3600)


def _load_data() -> None:
    data = TensorDataset(torch.arange(4.0))
    own = torch.Generator()
    loader = DataLoader(data, 2, num_workers=1, collate_fn=Doubled(), generator=own)
    assert torch.cat(list(loader)).tolist() == [0.0, 2.0, 4.0, 6.0]


class Doubled:
    def __call__(self, batch):
        return torch.stack([2 * value for (value,) in batch])


class Whim(BaseException):
    pass


def _raise(error: BaseException) -> None:
    raise error


def _run_folder() -> Path:
    return Path(os.readlink("/proc/self/fd/1")).parents[2]  # where the log is


def _lose_the_run() -> None:
    _run_folder().rename(_run_folder().with_name("moved"))


def _replace_the_run() -> None:
    folder = _run_folder()
    folder.rename(folder.with_name("moved"))
    folder.write_text("a file")


ACTS = {
    "lose the run": _lose_the_run,
    "replace the run": _replace_the_run,
    "nothing": lambda: None,
    "raise": lambda: 1 / 0,
    "return": lambda: "not numbers",
    "exit": lambda: os._exit(0),
    "sys.exit": lambda: sys.exit(5),
    "segfault": lambda: ctypes.string_at(0),
    "abort": lambda: os.abort(),
    "hang": lambda: time.sleep(3600),
    "hang in C": lambda: ctypes.PyDLL(None).sleep(3600),  # with the interpreter's lock held
    "memory": _hold_memory,
    "close": _close_streams,
    "print": _print_much,
    "puts": _print_from_c,
    "chdir": lambda: os.chdir("/"),
    "environ": lambda: os.environ.update(HOME="/nowhere"),
    "dtype": lambda: torch.set_default_dtype(torch.float64),
    "grad": lambda: torch.set_grad_enabled(False),
    "import": lambda: importlib.import_module("rich.style"),  # which draws from Python's generator
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "random": lambda: torch.rand(1),
    "signals": lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "child": lambda: subprocess.Popen(["sleep", "3601.25"]),
    "fork": lambda: os.fork() or time.sleep(3600),
    "crash with children": _crash_with_children,
    "hold the interpreter": _hold_the_interpreter,
    "data loader": _load_data,
    "interrupt": lambda: _raise(KeyboardInterrupt("of its own")),
    "whim": lambda: _raise(Whim("of its own")),
    "server": lambda: (os.kill(os.getppid(), signal.SIGKILL), time.sleep(60)),
    "share": lambda: _share_memory(),
}


@hookimpl
def describe() -> MethodInfo:
    return MethodInfo(config=Config, steps=lambda config, ipc: 3)


@hookimpl
def init(task, synthetic, config):
    return State(synthetic.images.clone(), synthetic.labels, config.act)


@hookimpl
def condense_step(state, task, step):
    state.images += torch.randn(state.images.shape, generator=task.generator)
    if step != 1:
        return {"norm": state.images.norm().item()}
    if state.act == "write":
        task.images.mul_(2)
    elif state.act == "write numpy":
        task.images.numpy()[0] += 1
    elif state.act == "write data":
        task.labels.data[0] = 1
    elif state.act == "nan":
        state.images *= float("nan")
    elif state.act == "note":
        cuda = (torch.cuda.is_initialized(), os.environ.get("CUDA_VISIBLE_DEVICES"))
        killed_first = int(Path("/proc/self/oom_score_adj").read_text())
        threads, allocator = torch.get_num_threads(), os.environ.get("MALLOC_MMAP_MAX_")
        state.note = repr((*cuda, threads, allocator, killed_first))
    else:
        answer = ACTS[state.act]()
        return answer if state.act == "return" else None


@hookimpl
def export(state):
    measures = {"note": state.note, "pid": os.getpid()}
    return SyntheticSet(state.images.clone(), state.labels, measures=measures)
