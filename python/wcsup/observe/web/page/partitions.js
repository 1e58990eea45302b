// The partitions: what is left to count in each, who has it here or on another host, and how long Kafka keeps it.
function owners(role, partition) {
  const here = (link.run?.workers ?? []).filter(worker => worker.role === role && worker.partitions.includes(partition)).map(worker => worker.slot);
  const live = (hosts.told?.hosts ?? []).filter(host => !host.silent && host.workers && host.pid !== link.run?.pid);
  const elsewhere = live.flatMap(host => host.workers.filter(worker => worker.role === role && worker.partitions.includes(partition)).map(worker => `${worker.slot} on ${host.machine}`));
  return [...here, ...elsewhere].join(", ") || (link.run.broker.reachable === false ? UNKNOWN : hosts.told ? "nobody" : "nobody here");
}
function showPartitions(run) {
  const lag = run.lag, names = [...new Set([...Object.keys(lag.lines_by_partition), ...Object.keys(lag.words_by_partition),
    ...run.workers.flatMap(worker => worker.partitions.map(String))])].map(Number).sort((a, b) => a - b);
  const most = record => Math.max(1, ...Object.values(record)), lines = most(lag.lines_by_partition), words = most(lag.words_by_partition);
  const lagCell = (value, high, kind) => h("td", {class: `n ${kind}${value ? " hot" : ""}`, "--heat": value ? (value / high).toFixed(3) : "0"}, count(value));
  say("partitions", headings(["No.", "n"], ["Lines left", "n"], "Mapper", ["Words left", "n"], "Reducer", ["Kept for", "n"]),
    h("tbody", {}, names.map(p => h("tr", {key: p}, cell(String(p), "n"),
      lagCell(lag.lines_by_partition[p], lines, "lines"), cell(owners("map", p)),
      lagCell(lag.words_by_partition[p], words, "words"), cell(owners("reduce", p)),
      cell(known(lag.lines_retention_by_partition[p]) ? span(lag.lines_retention_by_partition[p]) : "–", known(lag.lines_retention_by_partition[p]) && lag.lines_retention_by_partition[p] < 3600 ? "n warn" : "n")))));
  say("partitions-note", known(run.lines_lag) ? "kept for: until Kafka may delete the oldest line that is left" : `what is left is ${UNKNOWN}: Kafka does not tell`);
}
