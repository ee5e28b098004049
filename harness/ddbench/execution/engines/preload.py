"""What the fork server of a run imports: torch, `torch._dynamo`, and the code of workers."""

from ddbench.processes.preloading import preload

preload("ddbench.discovery.introspection", "ddbench.execution.engines.worker_process")
