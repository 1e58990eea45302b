"""The first step of a line: where lines come from, and how they get into the topic `lines`."""
