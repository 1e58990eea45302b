"""`wcsup reduce`: one reducer in the foreground."""

from wcsup.cli.worker import worker_command

command = worker_command(
    "reduce",
    "reduce",
    """Run one reducer in the foreground: it adds up words and keeps their totals.

    NAME tells it from the other reducers of this application on this host. One that is started under the same
    name takes its place: the older one ends with exit status 4. Ctrl-C has it finish and commit what it has, and
    leave its partitions to others at once; after SIGTERM they wait for the same name as long as its session lasts.""",
    example="wcsup reduce 0",
)
