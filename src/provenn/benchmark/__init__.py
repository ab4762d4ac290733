"""The benchmark: cases, one file each, run by methods, one process a run.

A case file names tasks and the methods that run on them; see `provenn.benchmark.task.Case`.
"""

from provenn.benchmark.task import Case, Job, Method, Outcome, Rows, Split, Sweep, Task

__all__ = ["Case", "Job", "Method", "Outcome", "Rows", "Split", "Sweep", "Task"]
