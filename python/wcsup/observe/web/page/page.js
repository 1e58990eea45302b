// Everything together: what is shown is shown again with each snapshot, and twice a second how old it is.
const application = document.body.dataset.application;

function showCondition() {
  const [kind, word, banners] = condition(), run = link.run;
  say("condition", word);
  at("condition").className = "state " + kind;
  say("banners", banners.map(([tone, text, passing, rest]) => h("div", {key: text, class: "banner " + tone}, h("p", {}, text, passing ? h("span", {"aria-live": "off"}, passing) : null, rest))));
  document.body.classList.toggle("old", Boolean(run) && isOld());
  document.title = kind === "ready" ? `${application} · wcsup` : `${word} — ${application} · wcsup`;
  const by = link.streams ? "live" : "asking every second";
  say("age", run ? (isOld() ? `supervisor ${run.pid}` : `supervisor ${run.pid}, up ${span(run.uptime)}, ${by}`) : "");
}
function showAll() {
  showCondition();
  const run = link.run;
  if (!run) return;
  drawCharts(); showFeeds(run); showControls(); showWorkers(run); showWords(run); showPartitions(run); showEvents(run); showSteps(); showSums(run);
}
layCharts();
showControls();
showHosts();
link.changed = showAll;
let wasOld = false;
setInterval(() => {
  showCondition();
  if (link.run && isOld() && !wasOld) showAll();  // once: nothing of it changes until there is an answer again
  wasOld = isOld();
}, 500);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showAll);
askEvents();
follow();
poll();
askHosts();
if (steering.allowed) followRecount();
