// The strips of the workers: two minutes of what each slot reported, in bars from one look to the next. A bar's height is
// how many records its commits covered (by the square root, so that few are seen beside many), red is how much of it was
// given up; no bar is a slot that committed nothing.
const STRIP_SECONDS = 120, STRIP_HEIGHT = 26;
let stripAt = null;  // {slot, time}: what the pointer is at

function looksOf(slot) {
  const {time, slots} = link.looks, of = slots[slot];
  if (!of) return [];
  return time.map((end, i) => ({begin: i && end - time[i - 1] < 2 ? time[i - 1] : end - .5, end, records: of.records[i], commits: of.commits[i], aborts: of.aborts[i]}));
}
function drawStrip(canvas) {
  const width = canvas.clientWidth, scale = devicePixelRatio || 1, looks = looksOf(canvas.dataset.slot);
  if (!width) return;
  canvas.width = Math.round(width * scale); canvas.height = Math.round(STRIP_HEIGHT * scale);
  const pen = canvas.getContext("2d"), color = getComputedStyle(canvas), of = name => color.getPropertyValue(name);
  pen.scale(scale, scale);
  const end = link.looks.time.at(-1) ?? 0, x = time => width * (1 - (end - time) / STRIP_SECONDS), most = Math.max(1, ...looks.map(one => one.records ?? 0));
  pen.fillStyle = of("--line"); pen.fillRect(0, STRIP_HEIGHT - 1, width, 1);
  for (const look of looks) {
    const left = x(look.begin), wide = Math.max(1, x(look.end) - left - (width > 300 ? .6 : .2));
    if (look.commits === null) {
      pen.fillStyle = of("--track"); pen.fillRect(left, 0, x(look.end) - left + .3, STRIP_HEIGHT);
      pen.fillStyle = of("--field"); pen.fillRect(left, STRIP_HEIGHT / 2 - .5, x(look.end) - left + .3, 1);
      continue;
    }
    const all = look.commits + look.aborts, tall = all ? Math.max(3, (STRIP_HEIGHT - 2) * Math.sqrt(look.records / most)) : 0;
    pen.fillStyle = of("--words");
    if (look.commits) pen.fillRect(left, STRIP_HEIGHT - 1 - tall, wide, tall);
    pen.fillStyle = of("--bad");
    if (look.aborts) { const red = Math.max(8, STRIP_HEIGHT * look.aborts / all); pen.fillRect(left, STRIP_HEIGHT - red, wide, red); }
    if (stripAt && stripAt.time > look.begin && stripAt.time <= look.end) { pen.fillStyle = of("--soft"); pen.fillRect(left + wide / 2 - .5, 0, 1, STRIP_HEIGHT); }
  }
}
function stripSum(slot) {
  const looks = looksOf(slot), sum = name => looks.reduce((all, one) => all + (one[name] ?? 0), 0);
  return `${plural(sum("commits"), "commit")} of ${plural(sum("records"), "record")} and ${plural(sum("aborts"), "abort")} over the last two minutes`;
}
function readStrip() {
  if (!stripAt) { say("strip-value"); return; }
  const look = looksOf(stripAt.slot).find(one => stripAt.time > one.begin && stripAt.time <= one.end);
  if (!look) { say("strip-value", ` ${stripAt.slot}, ${timeOf(stripAt.time * 1000)}: nothing is known`); return; }
  const what = look.commits === null ? "no process" : look.commits + look.aborts === 0 ? "idle" :
    `${plural(look.commits, "commit")}, ${plural(look.records, "record")}${look.aborts ? ", " + plural(look.aborts, "abort") : ""}`;
  say("strip-value", ` ${stripAt.slot}, ${timeOf(look.end * 1000)}: ${what}`);
}
function drawStrips() {
  for (const canvas of document.querySelectorAll("canvas[data-slot]")) drawStrip(canvas);
  readStrip();
}
for (const kind of ["pointermove", "pointerdown", "pointerout"]) document.addEventListener(kind, event => {
  const canvas = event.target.closest?.("canvas[data-slot]");
  if (!canvas) return;
  const box = canvas.getBoundingClientRect(), end = link.looks.time.at(-1) ?? 0;
  stripAt = kind === "pointerout" && event.pointerType === "mouse" ? null : {slot: canvas.dataset.slot, time: end - STRIP_SECONDS * (1 - (event.clientX - box.left) / box.width)};
  drawStrips();
});
