// Numbers, times and lengths of time as people read them. What is not known is said to be so.
const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", {notation: "compact", maximumSignificantDigits: 3});
const clock = new Intl.DateTimeFormat("en-GB", {hour: "2-digit", minute: "2-digit", second: "2-digit"});
const minute = new Intl.DateTimeFormat("en-GB", {hour: "2-digit", minute: "2-digit"});
const moment = new Intl.DateTimeFormat("en-GB", {dateStyle: "medium", timeStyle: "medium"});
const UNKNOWN = "unknown";

const known = value => value !== null && value !== undefined;
const count = n => known(n) ? whole.format(n) : UNKNOWN;
const short = n => known(n) ? compact.format(n) : UNKNOWN;
const size = n => !known(n) ? UNKNOWN : n >= 1e9 ? (n / 1e9).toFixed(1) + " GB" : n >= 1e6 ? Math.round(n / 1e6) + " MB" : Math.round(n / 1e3) + " kB";
const timeOf = at => clock.format(new Date(at));
const plural = (n, one, more = one + "s") => `${whole.format(n)} ${n === 1 ? one : more}`;

function span(seconds) {  // such as "2 h 3 min"
  if (!known(seconds)) return UNKNOWN;
  const s = Math.floor(seconds);
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + s % 60 + " s";
  if (s < 172800) return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
  return whole.format(Math.floor(s / 86400)) + " days";
}
function duration(seconds) {  // such as "12 ms"
  if (!known(seconds)) return UNKNOWN;
  if (seconds === 0) return "0 s";
  if (seconds < .0095) return (seconds * 1000).toFixed(1) + " ms";
  if (seconds < .9995) return Math.round(seconds * 1000) + " ms";
  return seconds < 9.995 ? seconds.toFixed(2) + " s" : seconds < 60 ? seconds.toFixed(1) + " s" : span(seconds);
}
/** The same for an axis, whose numbers are round. */
const durationTick = seconds => seconds < 1 ? whole.format(seconds * 1000) + " ms" : compact.format(seconds) + " s";
function ranges(numbers) {  // such as "0–3, 7"
  const runs = [];
  for (const n of [...numbers].sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last && last[1] === n - 1) last[1] = n; else runs.push([n, n]);
  }
  return runs.map(([a, b]) => a === b ? a : a + "–" + b).join(", ");
}
