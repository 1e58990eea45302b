// Input, events, the steps of commits, sums, other hosts, and dead letters.
const HOSTS_MILLISECONDS = 5000, MOST_EVENTS = 100;
const hosts = {told: null, why: null};

function showFeeds(run) {
  const feeds = run.tasks.filter(task => task.progress.written !== undefined);
  at("feeds").hidden = !feeds.length;
  say("feed", feeds.map(({name, running, status, progress}) => h("div", {key: name},
    h("p", {}, `${progress.source ?? name}: ${count(progress.written)} lines written`, running ? "" : status === 0 ? ", complete" : `, ended with status ${status}`),
    progress.bytes_known ? h("span", {class: "meter feed"}, h("i", {"--share": Math.min(1, progress.bytes_read / progress.bytes_known).toFixed(4)})) : null)));
}
let events = new Map();  // by what tells them apart; a snapshot has the last ones alone

function takeEvents(list) {
  for (const one of list) events.set([one.time, one.slot, one.event, one.reason].join(" "), one);
  events = new Map([...events].sort(([, a], [, b]) => a.time < b.time ? -1 : a.time > b.time ? 1 : 0).slice(-MOST_EVENTS));
}
async function askEvents() {
  const told = await get(`events.json?limit=${MOST_EVENTS}`).catch(() => null);
  if (told) { takeEvents(told.events); if (link.run) showEvents(link.run); }
}
function showEvents(run) {
  takeEvents(run.events ?? []);
  const rows = [...events].map(([key, one]) => h("tr", {key}, h("td", {title: moment.format(new Date(one.time))}, timeOf(one.time)), cell(one.slot ?? "run"), cell(one.event), cell(one.reason)));
  if (!rows.length) { say("events", h("tbody", {}, h("tr", {}, h("td", {class: "soft"}, "nothing happened yet")))); return; }
  say("events", headings("Time", "Slot", "Event", "Reason"), h("tbody", {}, rows.reverse()));
}
const STEP_NAMES = {produce: "produce", offsets: "send offsets", commit: "commit", store: "write store"};
function showSteps() {
  const roles = [["map", "Mappers"], ["reduce", "Reducers"]], percentiles = ["p50", "p90", "p99"];
  const steps = [...new Set(Object.values(link.steps).flatMap(Object.keys))];
  const kind = name => `n ${name === "p90" ? "p90" : ""}${name === "p50" ? " first" : ""}`;
  say("steps", h("thead", {}, h("tr", {}, h("td"), roles.map(([, name]) => h("th", {scope: "colgroup", colspan: "3", class: "first"}, name))),
    h("tr", {}, h("th", {scope: "col"}, "Step"), roles.map(([role]) => percentiles.map(name => h("th", {scope: "col", key: role + name, class: kind(name)}, name))))),
    h("tbody", {}, steps.length ? steps.map(step => h("tr", {key: step}, h("th", {scope: "row"}, STEP_NAMES[step] ?? step),
      roles.map(([role]) => percentiles.map(name => h("td", {key: role + name, class: kind(name)}, known(link.steps[role]?.[step]?.[name]) ? duration(link.steps[role][step][name]) : "–")))))
      : h("tr", {}, h("td", {class: "soft", colspan: "7"}, "nothing was committed yet"))));
}
function showSums(run) {
  const {map, reduce} = run.totals, sum = record => Object.values(record).reduce((a, b) => a + b, 0), reasons = {...map.aborts};
  for (const [reason, n] of Object.entries(reduce.aborts)) reasons[reason] = (reasons[reason] ?? 0) + n;
  const list = [["lines", count(map.records)], ["words", count(reduce.words)], ["bytes of lines", size(map.bytes)], ["words records written", count(map.written)],
    ["totals written", count(reduce.written)], ["commits", count(map.commits + reduce.commits)], ["aborts", count(sum(map.aborts) + sum(reduce.aborts))],
    ...Object.entries(reasons).map(([reason, n]) => ["aborts, " + reason, count(n)]),
    ["dead letters", count(map.dead_letters + reduce.dead_letters)], ["null lines", count(map.null_lines)],
    ...Object.entries(run.restarts).map(([reason, n]) => ["restarts, " + reason.replaceAll("_", " "), count(n)])];
  say("sums", list.flatMap(([name, value]) => [h("dt", {key: name}, name), h("dd", {key: name}, value)]));
}
function hostState(host) {
  if (host.ended !== null) return ["failed", `ended: ${host.ended}`];
  if (host.silent) return ["silent", `silent since ${timeOf(host.told_at)}`];
  if (!host.workers) return ["waiting", `of wcsup ${host.version}, which is newer`];
  if (host.broker?.reachable === false) return ["lost", "reaches no broker"];
  return host.ready ? ["ready", host.stopping ? `ending: ${host.stopping}` : "ready"] : ["waiting", host.stopping ? `ending: ${host.stopping}` : "not ready"];
}
function showHosts() {
  if (!hosts.told) { say("hosts-note", hosts.why ?? "being read"); say("hosts"); return; }
  const all = hosts.told.hosts, live = all.filter(host => !host.silent);
  say("hosts-note", `${live.length} of ${plural(all.length, "host")} heard of${hosts.why ? `, as of ${timeOf(hosts.told.looked_at)}: ${hosts.why}` : ""}`);
  if (!all.length) { say("hosts"); return; }
  const of = (host, role) => (host.workers ?? []).filter(worker => worker.role === role), owned = list => ranges(list.flatMap(worker => worker.partitions)) || "none";
  say("hosts", headings("Host", "State", ["Workers ready", "n"], "Partitions of lines", "Partitions of words", "Version", ["Up", "n"], ["Told", "n"]), h("tbody", {}, all.map(host => {
    const [kind, state] = hostState(host), workers = host.workers ?? [];
    return h("tr", {key: host.host}, h("td", {}, host.machine, h("span", {class: "sub"}, host.host, host.pid === link.run?.pid ? ", this one" : "")),
      h("td", {}, h("span", {class: "state " + kind}, state)), cell(host.silent ? "–" : `${workers.filter(worker => worker.ready).length} of ${workers.length}`, "n"),
      cell(host.silent ? "–" : owned(of(host, "map"))), cell(host.silent ? "–" : owned(of(host, "reduce"))), cell(host.version), cell(known(host.uptime) && !host.silent ? span(host.uptime) : "–", "n"), cell(timeOf(host.told_at), "n"));
  })));
}
async function askHosts() {
  if (!document.hidden && link.ended === null) {
    try {
      const answer = await fetch("hosts.json", {cache: "no-store", signal: AbortSignal.timeout(20000)});
      if (answer.ok) Object.assign(hosts, {told: await answer.json(), why: null}); else hosts.why = (await answer.text()).trim();
    } catch { hosts.why = "no answer"; }
    showHosts();
  }
  setTimeout(askHosts, HOSTS_MILLISECONDS);
}
function bytesShown(excerpt) {
  if (!excerpt) return h("span", {class: "soft"}, "none");
  return h("span", {class: "mono"}, excerpt.text || "(empty)", excerpt.cut ? h("span", {class: "soft"}, ` … ${size(excerpt.size)}`) : "");
}
async function showLetters() {
  at("letters-load").disabled = true;
  say("letters-note", "reading …");
  try {
    const answer = await fetch("dead-letters.json?limit=50", {cache: "no-store", signal: AbortSignal.timeout(30000)});
    if (answer.ok) {
      const {letters} = await answer.json();
      say("letters-note", letters.length ? `${plural(letters.length, "letter")}, the newest first, as of ${timeOf(serverNow())}; what can't be shown as text is escaped` : `none, as of ${timeOf(serverNow())}`);
      at("letters-card").hidden = !letters.length;
      say("letters", headings("Time", "From", "Why", "Key and value"), h("tbody", {}, letters.map(one => h("tr", {key: `${one.partition}/${one.offset}`},
        cell(one.time ? timeOf(one.time) : UNKNOWN), h("td", {}, one.topic ?? UNKNOWN, h("span", {class: "sub"}, `partition ${one.of_partition ?? UNKNOWN}, offset ${one.of_offset ?? UNKNOWN}`)),
        cell(one.error ?? UNKNOWN), h("td", {}, one.key ? [h("span", {class: "soft"}, "key "), bytesShown(one.key), h("br")] : null, bytesShown(one.value))))));
    } else say("letters-note", (await answer.text()).trim());
  } catch { say("letters-note", "no answer"); }
  at("letters-load").disabled = false;
  say("letters-load", "Show the newest");
}
at("letters-load").addEventListener("click", showLetters);
