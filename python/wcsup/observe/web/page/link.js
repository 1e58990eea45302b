// The link to the server: a stream of snapshots, and requests where there is no stream. It knows how old what is shown is.
const GONE_SECONDS = 3.5, RESTART_SECONDS = 10, POLL_MILLISECONDS = 1000, STREAM_AGAIN_MILLISECONDS = 30000, ANSWER_MILLISECONDS = 4000;
const RECENT_ROWS = 900, DAY_ROWS = 1440, STRIP_SECONDS = 60;

const emptyHistory = () => ({recent: {time: []}, day: {time: []}, strips: {}, steps: {}});
const link = {
  run: null,  // the last snapshot
  ...emptyHistory(),
  whole: false,  // whether the history has all that the server has, and not its end alone
  heard: null,  // when the server answered last, by this machine's clock
  moved: null,  // when a snapshot last differed from the one before
  ahead: 0,  // how many milliseconds the server's clock is ahead of this machine's
  ended: null,  // when the run said that it ends
  streams: false,
  stream: null,
  changed: () => {},
};
/** The present time of the server. */
const serverNow = () => Date.now() + link.ahead;

function longer(series, more, most) {
  const last = series.time.at(-1) ?? -Infinity, from = more.time.findIndex(time => time > last);
  if (from < 0) return series;
  return Object.fromEntries(Object.entries(more).map(([name, values]) => [name, [...(series[name] ?? []), ...values.slice(from)].slice(-most)]));
}
function longerStrips(strips, more) {
  const begin = serverNow() / 1000 - STRIP_SECONDS, all = {};
  for (const slot of new Set([...Object.keys(strips), ...Object.keys(more)])) {
    const old = strips[slot] ?? {transactions: [], away: []}, {transactions, away} = more[slot] ?? {transactions: [], away: []}, last = old.transactions.at(-1)?.number ?? 0;
    const again = transactions.length > 0 && transactions.at(-1).number < last;  // the slot was removed, and made again
    all[slot] = {
      transactions: [...old.transactions, ...transactions.filter(one => again || one.number > last)].filter(one => one.at > begin),
      away: [...old.away.filter(([since]) => !away.some(one => one[0] === since)), ...away].filter(([, until]) => until > begin),
    };
  }
  return all;
}
function takeHistory(told) {
  link.ahead = told.now * 1000 - Date.now();
  link.recent = longer(link.recent, told.recent, RECENT_ROWS);
  link.day = longer(link.day, told.day, DAY_ROWS);
  link.strips = longerStrips(link.strips, told.commits);
  link.steps = told.steps;
}
function takeRun(run) {
  const back = link.run ? link.run.uptime - run.uptime : 0;
  if (link.run && (run.pid !== link.run.pid || back > RESTART_SECONDS)) {  // another run answers here now
    Object.assign(link, emptyHistory(), {whole: false, ended: null, moved: null});
    askHistory();
  }
  if (back > 0 && back <= RESTART_SECONDS && run.pid === link.run.pid) return;  // an answer that the stream was ahead of
  link.heard = Date.now();
  if (!link.run || run.uptime !== link.run.uptime || link.moved === null) link.moved = Date.now();
  link.run = run;
}
async function get(path) {
  const answer = await fetch(path, {cache: "no-store", signal: AbortSignal.timeout(ANSWER_MILLISECONDS)});
  return answer.ok ? answer.json() : null;
}
async function askHistory() {
  const last = link.whole ? link.recent.time.at(-1) ?? 0 : 0, told = await get("history.json?after=" + last).catch(() => null);
  if (!told) return;
  if (!link.whole) Object.assign(link, emptyHistory(), {whole: true});  // what the stream has sent until now is the end of it
  takeHistory(told);
  link.changed();
}
function follow() {
  const stream = link.stream = new EventSource("stream");
  stream.addEventListener("snapshot", told => {
    const {status, history} = JSON.parse(told.data);
    if (!link.streams) { link.streams = true; link.whole = false; askHistory(); }
    takeRun(status); takeHistory(history); link.changed();
  });
  stream.addEventListener("still", () => { link.heard = Date.now(); link.changed(); });
  stream.addEventListener("end", () => { link.ended = Date.now(); link.streams = false; stream.close(); link.changed(); setTimeout(follow, STREAM_AGAIN_MILLISECONDS); });
  stream.addEventListener("error", () => {
    link.streams = false;
    if (stream.readyState === EventSource.CLOSED) setTimeout(follow, STREAM_AGAIN_MILLISECONDS);  // no room, or an older wcsup
  });
}
async function poll() {
  if (!link.streams) {
    try {
      const run = await get("status.json");
      if (run) { takeRun(run); await askHistory(); } else if (!link.run) link.heard = Date.now();
    } catch { /* `condition` tells how long nothing was heard */ }
    link.changed();
  }
  setTimeout(poll, POLL_MILLISECONDS);
}
/** What is known of the run, and what is to be said about that: `[kind, word, banners]`.
 * A banner is `[tone, text, what changes with time]`: a screen reader tells the text, and not each second again. */
function condition() {
  const run = link.run, now = Date.now(), banners = [];
  if (!run) return link.heard && now - link.heard < GONE_SECONDS * 1000 ? ["waiting", "starting", []] : ["waiting", "connecting", []];
  if (link.ended) return ["lost", "ended", [["wait", `The run has ended at ${timeOf(link.ended + link.ahead)}${run.stopping ? ": " + run.stopping : ""}. What is shown is what it told last`]]];
  if (now - link.heard > GONE_SECONDS * 1000) return ["lost", "gone", [["bad", `No answer since ${timeOf(link.heard + link.ahead)}. What is shown is as of then`]]];
  if (now - link.moved > GONE_SECONDS * 1000) banners.push(["bad", `The supervisor's loop stands still. What is shown is as of ${timeOf(link.moved + link.ahead)}`, `, ${span((now - link.moved) / 1000)} ago`]);
  if (run.broker.reachable === false) {
    const gone = (serverNow() - Date.parse(run.broker.since)) / 1000;
    banners.push(["bad", "Kafka gone", ` for ${span(Math.max(0, gone))}`, ": counting rests until a broker answers"]);
  }
  for (const worker of run.workers) {
    if (worker.failed) banners.push(["bad", `${worker.slot} is left down: ${worker.failed}`]);
    else if (worker.silent) banners.push(["wait", `${worker.slot}: no heartbeat`, ` for ${span(worker.heartbeat_seconds + (now - link.heard) / 1000)}`]);
  }
  if (run.stopping) return ["waiting", "ending", [["wait", `The run is ending: ${run.stopping}`], ...banners]];
  if (now - link.moved > GONE_SECONDS * 1000) return ["lost", "stands still", banners];
  if (run.broker.reachable === false) return ["lost", "Kafka gone", banners];
  if (run.ready) return ["ready", "ready", banners];
  return ["waiting", `${run.workers.filter(worker => worker.ready && !worker.silent).length} of ${run.workers.length} workers ready`, banners];
}
/** Whether what is shown may not be so any more. */
const isOld = () => !link.run || link.ended !== null || Date.now() - link.heard > GONE_SECONDS * 1000 || Date.now() - link.moved > GONE_SECONDS * 1000;
