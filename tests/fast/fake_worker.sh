#!/bin/sh
# The cheapest worker there is, for tests that need a thousand of them: ready at once, then waits for its parent's end.
read -r job
fd=${job#*'"report_fd": '}
printf '%s\n' '{"phase": "running", "beat": 1, "ready": true, "counters": {"commits": 1, "records": 1, "batch_records": {"bounds": [1, 10, 100, 1000, 10000, 100000, 1000000], "counts": [1, 0, 0, 0, 0, 0, 0, 0], "sum": 1}, "step_seconds": {}}, "restoring": {}, "top": []}' > "/dev/fd/${fd%%,*}"
read -r end
