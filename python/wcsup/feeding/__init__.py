"""The first step of a line: its source, and its way into the topic `lines`."""
