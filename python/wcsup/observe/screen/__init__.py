"""The run on a full screen: what it shows is drawn by pure functions, and one thread has the terminal.

`history` and `incidents` remember what a snapshot does not say. `layout` draws a `Scene` as lines of text, from parts
in `chart`, `facts`, `workers` and `panes`. `keys` says what a key does, `errands` does it. `terminal` has the
terminal's modes, `view` the thread that reads keys and draws.
"""
