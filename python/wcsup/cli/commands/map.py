"""`wcsup map`: one mapper in the foreground."""

from wcsup.cli.worker import worker_command

command = worker_command(
    "map",
    "map",
    """Run one mapper in the foreground: it splits lines into words.

    NAME tells it from the other mappers of this application on this host. One that is started under the same
    name takes its place: the older one ends with exit status 4. Ctrl-C has it finish and commit what it has, and
    leave its partitions to others at once; after SIGTERM they wait for the same name as long as its session lasts.""",
    example="wcsup map 0",
)
