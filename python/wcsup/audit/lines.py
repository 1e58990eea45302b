"""Recounting committed lines, without the lines that mappers rejected: these are whole in `dead-letters`."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Message

from wcsup import _core
from wcsup.audit.reading import TopicReader
from wcsup.audit.recount import recount, words
from wcsup.config import Config, WordRule


@dataclass(slots=True)
class Recount:
    """The result of recounting lines."""

    words: Counter[bytes] = field(default_factory=Counter)
    counted: int = 0
    null: int = 0
    rejected: int = 0


class Lines:
    """The committed lines, and which of them are in `dead-letters`."""

    def __init__(self, config: Config, reader: TopicReader) -> None:
        self.twice: list[tuple[int, int]] = []
        """Partition and offset of lines with more than one dead letter."""
        self._config, self._reader = config, reader
        self._next = reader.starts("dead-letters")
        self._forgotten = any(self._next.values())
        self._rejected: set[tuple[int, int]] = set()

    def recount(
        self,
        first: Mapping[int, int],
        end: Mapping[int, int],
        rule: WordRule,
        into: Recount,
        on_progress: Callable[[int, int], None],
    ) -> None:
        """Recount the lines of each partition between two offsets. All of these lines are committed by now."""
        self._read_letters()
        done, todo = 0, sum(end[p] - first[p] for p in first)
        for messages in self._reader.read("lines", {p: (first[p], end[p]) for p in first}):
            lines = []
            for message in messages:
                line = message.value()
                if line is None:
                    into.null += 1
                elif self._rejects(message, line, rule):
                    into.rejected += 1
                else:
                    lines.append(line)
            into.counted += len(lines)
            recount(lines, rule, into.words)
            done += len(messages)
            on_progress(done, todo)

    def _read_letters(self) -> None:
        """Read all dead letters: for each rejected line that is committed by now, there is one."""
        ends = self._reader.ends("dead-letters")
        for messages in self._reader.read("dead-letters", {p: (self._next[p], end) for p, end in ends.items()}):
            for message in messages:
                self._take(message)
        self._next = ends

    def _rejects(self, message: Message, line: bytes, rule: WordRule) -> bool:
        """Return whether a line was rejected. If retention has deleted dead letters, the line itself is examined."""
        if self._rejected and (message.partition(), message.offset()) in self._rejected:
            return True
        # Folding may make a word longer, so even a line of a third of the limit can have a word that is too long.
        if not self._forgotten or len(line) <= _core.MAX_WORD_BYTES // 3:
            return False
        return any(len(word) > _core.MAX_WORD_BYTES for word in words(line, rule))

    def _take(self, message: Message) -> None:
        headers = dict(message.headers() or [])
        if headers.get("topic") != self._config.topic("lines").encode():
            return
        partition, offset = headers.get("partition"), headers.get("offset")
        if isinstance(partition, bytes) and isinstance(offset, bytes):
            line = (int(partition), int(offset))
            if line in self._rejected:
                self.twice.append(line)
            self._rejected.add(line)
