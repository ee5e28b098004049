"""Measure what a job costs: wall seconds, FLOPs, peak memory, on what hardware."""

from ddbench.meter.clock import Stopwatch
from ddbench.meter.flops import FlopCount, count_flops, forward_macs
from ddbench.meter.hardware import hardware, hardware_class, warm_up
from ddbench.meter.memory import PeakMemory
from ddbench.meter.steps import StepMeter

__all__ = [
    "FlopCount",
    "PeakMemory",
    "StepMeter",
    "Stopwatch",
    "count_flops",
    "forward_macs",
    "hardware",
    "hardware_class",
    "warm_up",
]
