"""`wcsup demo`: a demonstration on a Kafka of its own."""

from wcsup.cli.command import Section, define
from wcsup.config import Config


@define(
    "demo",
    section=Section.AROUND,
    offered=(),
    example="""
    wcsup demo
    """,
)
def command(config: Config) -> int:  # noqa: ARG001 - every command gets it
    """Count a real body of text on a real Kafka, kill workers on the way, and check every count.

    It takes half a minute, once Kafka's jars are fetched, and leaves nothing behind: Kafka, topics and state are in a
    temporary directory. It needs the extra wcsup[broker].
    """
    from wcsup.demo import main

    return main()
