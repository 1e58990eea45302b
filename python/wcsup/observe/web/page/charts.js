// Charts of the last quarter of an hour and of the last day. A pointer, a finger or the arrow keys read a value out, and
// all charts read out the same time.
const SVG = "http://www.w3.org/2000/svg", HEIGHT = 112, LEFT = 46, RIGHT = 6, TOP = 6, BOTTOM = 18;
const perSecond = n => short(n === null ? null : n < 10 ? Math.round(n * 10) / 10 : Math.round(n));
const CHARTS = [
  {id: "lines", title: "Lines a second", tick: short, series: [{name: "lines", kind: "lines", column: "lines_per_second", say: perSecond}]},
  {id: "words", title: "Words a second", tick: short, series: [{name: "words", kind: "words", column: "words_per_second", say: perSecond}]},
  {id: "latency", title: "Latency, line to total", tick: durationTick, series: [
    {name: "p50", kind: "p50", column: "latency_p50", say: duration}, {name: "p99", kind: "p99", column: "latency_p99", say: duration}]},
  {id: "lag", title: "Left to count", tick: short, series: [
    {name: "lines", kind: "lines", column: "lines_lag", say: count}, {name: "words records", kind: "words", column: "words_lag", say: count}]},
];
let range = "recent", cursor = null;  // the time that is read out, in seconds since 1970

const svg = (tag, attributes, text) => {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
};
function niceTop(high) {  // the next of 1, 2, 5, 10, …
  if (!(high > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(high));
  return power * [1, 2, 5, 10].find(step => high <= step * power * 1.0001);
}
/** From when to when the charts are: the whole range, or as far back as the run goes, two minutes at least. */
function extent() {
  const most = range === "recent" ? 900 : 86400, least = range === "recent" ? 120 : 1800;
  const end = (isOld() && link.heard ? Math.min(link.heard, link.moved ?? link.heard) + link.ahead : serverNow()) / 1000, first = link[range].time[0] ?? end;
  return [end - Math.min(most, Math.max(least, end - first)), end];
}
function ticks(begin, end) {
  const steps = [60, 120, 300, 900, 1800, 3600, 7200, 14400, 21600], step = steps.find(one => (end - begin) / one <= 4) ?? 43200;
  const offset = new Date(begin * 1000).getTimezoneOffset() * 60, found = [];
  for (let time = Math.ceil((begin - offset) / step) * step + offset; time <= end; time += step) found.push([time, minute.format(new Date(time * 1000))]);
  return found;
}
function path(series, column, x, y, begin) {
  const gap = range === "recent" ? 3.5 : 150, values = series[column] ?? [];
  let line = "", area = "", from = null, last = null;
  const close = () => { if (from !== null && last !== null) area += `L${x(last)} ${y(0)}L${x(from)} ${y(0)}Z`; from = null; };
  series.time.forEach((time, i) => {
    const value = values[i];
    if (time < begin || !known(value)) { if (!known(value)) { close(); last = null; } return; }
    const there = `${x(time)} ${y(value)}`, goesOn = last !== null && time - last <= gap;
    if (!goesOn) { close(); from = time; }
    line += (goesOn ? "L" : "M") + there; area += (goesOn ? "L" : "M") + there; last = time;
  });
  close();
  return [line, area];
}
function nearest(time) {
  const times = link[range].time;
  let best = -1;
  times.forEach((one, i) => { if (best < 0 || Math.abs(one - time) < Math.abs(times[best] - time)) best = i; });
  return best;
}
function readOut(chart, row) {
  const series = link[range];
  return chart.series.map(one => [one, series[one.column]?.[row] ?? null]);
}
function sayRow(chart, row) {
  const values = readOut(chart, row).map(([one, value]) => `${chart.series.length > 1 ? one.name + " " : ""}${one.say(value)}`).join(", ");
  const time = link[range].time[row] * 1000;
  return `${range === "day" ? minute.format(new Date(time)) : timeOf(time)}: ${values}`;
}
function drawChart(chart) {
  const plot = at("plot-" + chart.id), width = plot.clientWidth, [begin, end] = extent(), series = link[range];
  if (!width) return;
  const shown = series.time.map((time, i) => time >= begin ? i : -1).filter(i => i >= 0);
  const high = niceTop(Math.max(0, ...chart.series.flatMap(one => shown.map(i => series[one.column]?.[i] ?? 0))));
  const x = time => +(LEFT + (width - LEFT - RIGHT) * (time - begin) / (end - begin)).toFixed(1);
  const y = value => +(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / high).toFixed(1);
  const parts = [];
  for (const value of [0, high / 2, high]) {
    parts.push(svg("line", {class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value)}));
    parts.push(svg("text", {x: LEFT - 5, y: y(value) + 4, "text-anchor": "end"}, value ? chart.tick(value) : "0"));
  }
  if (!chart.series.some(one => shown.some(i => known(series[one.column]?.[i])))) parts.push(svg("text", {x: (LEFT + width - RIGHT) / 2, y: HEIGHT / 2 - 10, "text-anchor": "middle"}, "nothing known yet"));
  for (const [time, text] of ticks(begin, end)) {
    const place = x(time);
    if (place > LEFT + 12 && place < width - 22) parts.push(svg("text", {x: place, y: HEIGHT - 3, "text-anchor": "middle"}, text));
  }
  for (const one of chart.series) {
    const [line, area] = path(series, one.column, x, y, begin);
    if (chart.series.length === 1) parts.push(svg("path", {class: "area " + one.kind, d: area}));
    parts.push(svg("path", {class: "line " + one.kind, d: line}));
  }
  const row = cursor === null ? -1 : nearest(cursor);
  if (row >= 0 && series.time[row] >= begin) {
    const place = x(series.time[row]);
    parts.push(svg("line", {class: "cursor", x1: place, x2: place, y1: TOP, y2: HEIGHT - BOTTOM}));
    for (const [one, value] of readOut(chart, row)) if (known(value)) parts.push(svg("circle", {class: "dot " + one.kind, cx: place, cy: y(value), r: 3}));
  }
  plot.firstChild.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  plot.firstChild.replaceChildren(...parts);
  const times = series.time, told = row >= 0 ? row : times.length - 1;
  plot.setAttribute("aria-valuemax", Math.max(0, times.length - 1));
  plot.setAttribute("aria-valuenow", Math.max(0, told));
  plot.setAttribute("aria-valuetext", told >= 0 ? sayRow(chart, told) : "nothing yet");
  say("under-" + chart.id, row >= 0 ? sayRow(chart, row) : under(chart.id));
}
/** The line below a chart's figure. */
function under(id) {
  const run = link.run;
  if (!run) return "";
  if (id === "lines") return `${count(run.totals.map.records)} since the start`;
  if (id === "words") return `${count(run.totals.reduce.words)} since the start`;
  if (id === "latency") return `oldest uncounted line: ${known(run.oldest_uncounted_seconds) ? run.oldest_uncounted_seconds ? duration(run.oldest_uncounted_seconds) + " old" : "none" : UNKNOWN}`;
  return catchUp(run);
}
function catchUp(run) {
  if (!known(run.lines_lag)) return "";
  const back = link.recent.time.findIndex(time => time >= link.recent.time.at(-1) - 15), lags = link.recent.lines_lag ?? [], then = lags[back];
  const seconds = link.recent.time.at(-1) - link.recent.time[back];
  const words = `${count(run.words_lag)} ${run.words_lag === 1 ? "record" : "records"} of words`;
  if (run.lines_lag < 1000 || !known(then) || seconds < 5) return words;
  const speed = (then - run.lines_lag) / seconds;
  return speed > 0 ? `${words}; caught up in ${span(run.lines_lag / speed)}` : `${words}; not catching up`;
}
function figure(chart) {
  const run = link.run, latest = name => link.recent[name]?.at(-1) ?? null;
  if (!run) return ["–"];
  if (chart.id === "lines") return [perSecond(latest("lines_per_second"))];
  if (chart.id === "words") return [perSecond(latest("words_per_second"))];
  if (chart.id === "lag") return known(run.lines_lag) ? [short(run.lines_lag), h("small", {}, run.lines_lag === 1 ? " line" : " lines")] : [UNKNOWN];
  if (!run.latency) return ["–", h("small", {}, " nothing counted for a minute")];
  return [duration(run.latency.p50), h("small", {}, ` p50 · p99 ${duration(run.latency.p99)}`)];
}
function layCharts() {
  patch(at("charts"), CHARTS.map(chart => h("div", {class: "card chart", key: chart.id},
    h("h3", {id: "title-" + chart.id}, chart.series.length > 1 ? [chart.title, " ", chart.series.map(one => h("span", {key: one.name, class: "soft"}, " ", h("span", {class: "key " + one.kind}), one.name))] : chart.title),
    h("div", {class: "big", id: "figure-" + chart.id}), h("div", {class: "under", id: "under-" + chart.id}),
    h("div", {class: "plot", id: "plot-" + chart.id, tabindex: "0", role: "slider", "aria-labelledby": "title-" + chart.id, "aria-valuemin": "0", "aria-valuemax": "0", "aria-valuenow": "0", "aria-valuetext": "nothing yet", "data-chart": chart.id}))));
  for (const chart of CHARTS) {
    const plot = at("plot-" + chart.id);
    plot.replaceChildren(svg("svg", {"aria-hidden": "true", preserveAspectRatio: "none"}));
    const point = event => {
      const box = plot.getBoundingClientRect(), [begin, end] = extent();
      cursor = begin + (end - begin) * Math.min(1, Math.max(0, (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)));
      drawCharts();
    };
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") { cursor = null; drawCharts(); } });
    plot.addEventListener("blur", event => { if (!event.relatedTarget?.matches(".plot")) { cursor = null; drawCharts(); } });
    plot.addEventListener("keydown", event => {
      const times = link[range].time, row = cursor === null ? times.length - 1 : nearest(cursor);
      const to = {ArrowLeft: row - 1, ArrowDown: row - 1, ArrowRight: row + 1, ArrowUp: row + 1, PageDown: row - 60, PageUp: row + 60, Home: 0, End: times.length - 1}[event.key];
      if (event.key === "Escape") cursor = null;
      else if (to === undefined || !times.length) return;
      else cursor = times[Math.min(times.length - 1, Math.max(0, to))];
      event.preventDefault();
      drawCharts();
    });
  }
  addEventListener("resize", drawCharts);
}
function drawCharts() {
  for (const chart of CHARTS) { say("figure-" + chart.id, figure(chart)); drawChart(chart); }
}
document.addEventListener("click", event => {
  const chosen = event.target.closest?.("[data-range]");
  if (!chosen) return;
  range = chosen.dataset.range; cursor = null;
  for (const one of document.querySelectorAll("[data-range]")) one.setAttribute("aria-pressed", String(one === chosen));
  drawCharts();
});
