"""The soak: all kinds of faults, mixed from one seed, under load for as long as asked (`make soak MINUTES=10 SEED=…`).

`run.soak` does it. Lines flow all the time (`load`) to workers on three hosts, some of them behind a proxy (`field`);
kinds of faults are dealt like cards, so that each comes as often as its weight says (`kinds`), and up to three are at
work at once. What was done to whom and when is kept (`journal`), for the reader of a failure.
"""
