// The workers: a row each, a card each on a phone.
function stateOf(worker) {
  const todo = Object.values(worker.restoring), read = todo.reduce((sum, one) => sum + one[0], 0), all = todo.reduce((sum, one) => sum + one[1], 0);
  if (worker.failed) return ["failed", "left down", worker.failed];
  if (worker.silent) return ["silent", "silent", `no heartbeat for ${span(worker.heartbeat_seconds + (Date.now() - link.heard) / 1000)}`];
  if (worker.state === "restoring") return ["restoring", all ? `restoring ${Math.floor(100 * read / all)} %` : "restoring",
    known(worker.restore_seconds) ? `${span(worker.restore_seconds)} left` : null];
  if (worker.state === "backoff") return ["backoff", "waits to be restarted", worker.last_exit];
  return [worker.state, worker.state, worker.state === "running" && worker.ready ? null : worker.phase === worker.state ? null : worker.phase];
}
function workerRow(worker) {
  const [kind, state, more] = stateOf(worker), labelled = (label, text, kind, ...rest) => h("td", {class: kind, "data-label": label, role: "cell"}, text, ...rest);
  return h("tr", {key: worker.slot, role: "row"},
    h("th", {scope: "row", role: "rowheader"}, worker.slot, h("span", {class: "sub"}, known(worker.pid) ? "pid " + worker.pid : "no process")),
    h("td", {class: "state-cell", role: "cell"}, h("span", {class: "state " + kind}, state), more ? h("span", {class: "sub"}, more) : null),
    h("td", {class: "strip", role: "cell"}, h("canvas", {"data-slot": worker.slot, role: "img", "aria-label": stripSum(worker.slot)})),
    labelled("records/s", worker.pid === null ? "–" : perSecond(worker.records_per_second), "n"),
    labelled("last commit", known(worker.last_commit_seconds) ? `${span(worker.last_commit_seconds)} ago` : "none yet", "n"),
    labelled("cpu", known(worker.cpu_percent) ? Math.round(worker.cpu_percent) + " %" : "–", "n"),
    labelled("memory", known(worker.rss_bytes) ? size(worker.rss_bytes) : "–", "n"),
    labelled("restarts", count(worker.restarts), "n", worker.restarts && worker.last_exit ? h("span", {class: "sub"}, worker.last_exit) : null),
    labelled("partitions", ranges(worker.partitions) || "none", "partitions"),
    steering.allowed && h("td", {class: "actions", role: "cell"}, h("span", {class: "buttons"},
      h("button", {type: "button", class: "small", "data-do": "restart", "data-slot": worker.slot, "aria-label": "Restart " + worker.slot, disabled: isOld()}, "Restart"),
      h("button", {type: "button", class: "small danger", "data-do": "kill", "data-slot": worker.slot, "aria-label": "Kill " + worker.slot, disabled: worker.pid === null || isOld()}, "Kill"))));
}
function showWorkers(run) {
  say("workers", h("thead", {role: "rowgroup"}, h("tr", {role: "row"}, [["Slot"], ["State"], ["Transactions, last minute"], ["Records/s", "n"], ["Last commit", "n"], ["CPU", "n"], ["Memory", "n"], ["Restarts", "n"], ["Partitions"], ...(steering.allowed ? [["Actions", "n"]] : [])]
    .map(([name, kind]) => h("th", {scope: "col", role: "columnheader", class: kind}, name)))),
    h("tbody", {role: "rowgroup"}, run.workers.map(workerRow)));
  drawStrips();
}
