// The strips of the workers: a bar for each transaction of the last minute, from the begin of its commit to its end. A
// bar's height is how many records the commit covered (by the square root, so that few are seen beside many); one of
// full height, in red, was given up. No bar is a slot that committed nothing.
const STRIP_HEIGHT = 26, NEAR_PIXELS = 6;
let stripAt = null;  // {slot, time, near}: what the pointer is at, and what is near to it in seconds

const stripOf = slot => link.strips[slot] ?? {transactions: [], away: []};
function drawStrip(canvas) {
  const width = canvas.clientWidth, scale = devicePixelRatio || 1, {transactions, away} = stripOf(canvas.dataset.slot);
  if (!width) return;
  canvas.width = Math.round(width * scale); canvas.height = Math.round(STRIP_HEIGHT * scale);
  const pen = canvas.getContext("2d"), color = getComputedStyle(canvas), of = name => color.getPropertyValue(name);
  pen.scale(scale, scale);
  const end = stripEnd(), x = time => width * (1 - (end - time) / STRIP_SECONDS), most = Math.max(1, ...transactions.map(one => one.records));
  pen.fillStyle = of("--line"); pen.fillRect(0, STRIP_HEIGHT - 1, width, 1);
  for (const [since, until] of away) {
    pen.fillStyle = of("--track"); pen.fillRect(x(since), 0, x(until) - x(since) + .3, STRIP_HEIGHT);
    pen.fillStyle = of("--field"); pen.fillRect(x(since), STRIP_HEIGHT / 2 - .5, x(until) - x(since) + .3, 1);
  }
  const pointed = pointedAt(canvas.dataset.slot);
  for (const one of transactions) {
    const left = x(one.at - one.seconds), wide = Math.max(1, x(one.at) - left), tall = one.error ? STRIP_HEIGHT - 1 : Math.max(2, (STRIP_HEIGHT - 2) * Math.sqrt(one.records / most));
    pen.fillStyle = of(one.error ? "--bad" : one === pointed ? "--soft" : "--words");
    pen.fillRect(left, STRIP_HEIGHT - 1 - tall, wide, tall);
  }
}
/** The time at the right end of the strips: that of the last snapshot, so that they stand still when the server is gone. */
const stripEnd = () => (link.heard ?? Date.now()) / 1000 + link.ahead / 1000;
function stripSum(slot) {
  const {transactions} = stripOf(slot), aborts = transactions.filter(one => one.error).length;
  const records = transactions.reduce((all, one) => all + (one.error ? 0 : one.records), 0);
  return `${plural(transactions.length - aborts, "commit")} of ${plural(records, "record")} and ${plural(aborts, "abort")} over the last minute`;
}
/** The transaction that the pointer is at, or nearest to; none where none is near. */
function pointedAt(slot) {
  if (stripAt?.slot !== slot) return null;
  let found = null, least = stripAt.near;
  for (const one of stripOf(slot).transactions) {
    const far = Math.max(0, one.at - one.seconds - stripAt.time, stripAt.time - one.at);
    if (far <= least) { least = far; found = one; }
  }
  return found;
}
function readStrip() {
  if (!stripAt) { say("strip-value"); return; }
  const {slot, time} = stripAt, one = pointedAt(slot), at = timeOf((one ? one.at : time) * 1000);
  const away = stripOf(slot).away.some(([since, until]) => time > since && time <= until);
  const what = !one ? away ? "no process" : "idle" : `${one.error ? "aborted, " + one.error : "committed"}: ${plural(one.records, "record")} in ${duration(one.seconds)}`;
  say("strip-value", ` ${slot}, ${at}: ${what}`);
}
function drawStrips() {
  for (const canvas of document.querySelectorAll("canvas[data-slot]")) drawStrip(canvas);
  readStrip();
}
for (const kind of ["pointermove", "pointerdown", "pointerout"]) document.addEventListener(kind, event => {
  const canvas = event.target.closest?.("canvas[data-slot]");
  if (!canvas) return;
  const box = canvas.getBoundingClientRect(), second = box.width / STRIP_SECONDS;
  stripAt = kind === "pointerout" && event.pointerType === "mouse" ? null :
    {slot: canvas.dataset.slot, time: stripEnd() - (box.right - event.clientX) / second, near: NEAR_PIXELS / second};
  drawStrips();
});
