"""A method that is light to load and slow enough to interrupt. For the tests."""

import time
from dataclasses import dataclass

import torch
from ddbench import MethodInfo, SyntheticSet, hookimpl


@dataclass(frozen=True)
class Config:
    seconds: float = 0.02  # of a step


@dataclass
class State:
    images: torch.Tensor
    labels: torch.Tensor
    speed: torch.Tensor
    own: torch.Generator
    seconds: float


@hookimpl
def describe() -> MethodInfo:
    return MethodInfo(config=Config, steps=lambda config, ipc: 50)


@hookimpl
def init(task, synthetic, config):
    images = synthetic.images.clone()
    own = task.new_generator("own")
    return State(images, synthetic.labels, torch.zeros_like(images), own, config.seconds)


@hookimpl
def condense_step(state, task, step):
    time.sleep(state.seconds)
    pull = torch.randn(state.images.shape, generator=state.own) - 0.1 * state.images
    noise = torch.randn(state.images.shape, generator=task.generator)
    state.speed = 0.9 * state.speed + pull + task.augment(noise)
    state.images += 0.01 * state.speed
    print(f"did {step}", flush=True)  # into the log, which outlives a kill
    return {"speed": state.speed.norm().item()}


@hookimpl
def export(state):
    return SyntheticSet(state.images.clone(), state.labels)
