// Control, for who knows the token of --http-token. The token stays in this tab: a page of another site can't send it.
const TOKEN = "wcsup-token", QUESTIONS = {
  kill: slot => [`Kill ${slot}?`, "Its process gets SIGKILL, as if something outside had killed it. It is replaced, and no count is lost.", "Kill it"],
  "restart-all": () => ["Restart all workers?", "One after another, so that counting goes on.", "Restart them"],
  drain: () => ["End the run?", "Workers commit what they have and end. Lines that are left stay in Kafka for the next run.", "End the run"],
};
const steering = {possible: document.body.dataset.steered === "true", token: sessionStorage.getItem(TOKEN), said: "", bad: false, busy: false, recount: null};
Object.defineProperty(steering, "allowed", {get: () => steering.possible && steering.token !== null});

async function order(command, body = {}) {
  steering.busy = true; showControls();
  try {
    const answer = await fetch("control/" + command, {method: "POST", headers: {"Content-Type": "application/json", Authorization: "Bearer " + steering.token}, body: JSON.stringify(body), signal: AbortSignal.timeout(15000)});
    steering.bad = !answer.ok;
    if (answer.status === 401) forget();
    return answer.ok ? [true, await answer.json()] : [false, (await answer.text()).trim()];
  } catch { steering.bad = true; return [false, "no answer"]; } finally { steering.busy = false; }
}
function forget() { steering.token = null; sessionStorage.removeItem(TOKEN); }
async function unlock(token) {
  steering.token = token;
  const [done, why] = await order("check");
  if (done) { sessionStorage.setItem(TOKEN, token); steering.said = ""; } else { steering.token = null; steering.said = why; }
  showControls(); if (link.run) showWorkers(link.run);
  if (done) at("controls").querySelector("button")?.focus();
}
function asked(question, then) {
  const [title, text, yes] = question, dialog = at("ask");
  say("ask-title", title); say("ask-text", text); say("ask-yes", yes);
  dialog.returnValue = "no";
  dialog.onclose = () => { if (dialog.returnValue === "yes") then(); };
  dialog.showModal();
}
async function does(what, {slot, role, by}) {
  const run = link.run, many = role && run.workers.filter(worker => worker.role === role).length + Number(by);
  const [command, body, said] = {
    scale: ["scale", {[role === "map" ? "mappers" : "reducers"]: many}, `Scaling to ${plural(many, role === "map" ? "mapper" : "reducer")}.`],
    restart: ["restart", {slot}, `${slot} restarts.`],
    "restart-all": ["restart", {slot: "all"}, "All workers restart, one after another."],
    kill: ["kill", {slot}, `${slot} was sent SIGKILL.`],
    verify: ["verify", {}, ""],
    drain: ["drain", {}, "The run ends."],
  }[what];
  const [done, answer] = await order(command, body);
  steering.said = done ? said : answer;
  if (done && what === "verify") { steering.recount = answer; followRecount(); }
  showControls();
}
async function followRecount() {
  const told = await get("recount.json").catch(() => null);
  if (told) steering.recount = told;
  showControls();
  if (!told || told.state === "running") setTimeout(followRecount, 1000);
}
function recountText() {
  const told = steering.recount;
  if (!told || told.state === "never") return "";
  if (told.state === "running") return `Recounting since ${timeOf(told.began_at)} …`;
  if (told.state === "failed") return `No verdict: ${told.why}`;
  const {verdict} = told, what = `${count(verdict.lines)} lines, ${count(verdict.words)} words, ${count(verdict.distinct)} distinct, recounted at ${timeOf(told.began_at)} in ${duration(told.seconds)}`;
  if (verdict.mismatches) return `WRONG: ${plural(verdict.mismatches, "total")} disagree with ${what}. Run wcsup verify.`;
  if (!verdict.holds) return `Undecided: ${what}. Run wcsup verify.`;
  return verdict.exact ? `Exact: ${what}.` : `Within bounds: ${what}; ${plural(verdict.loose ?? 0, "word")} ${verdict.loose === 1 ? "was" : "were"} being counted meanwhile.`;
}
function showControls() {
  if (!steering.possible) { say("controls"); return; }
  if (!steering.allowed) {
    say("controls", h("div", {class: "card controls", key: "locked"}, h("form", {id: "unlock"},
      h("label", {for: "token"}, "Token for the controls"), h("input", {id: "token", type: "password", autocomplete: "off", required: true}), h("button", {}, "Unlock")),
      h("p", {class: "said warn", role: "status"}, steering.said)));
    return;
  }
  const run = link.run, of = role => run ? run.workers.filter(worker => worker.role === role).length : 0, stopped = steering.busy || isOld() || Boolean(run?.stopping);
  const scale = (role, name) => h("span", {class: "group", key: role, role: "group", "aria-label": name}, h("span", {class: "soft"}, name),
    h("button", {type: "button", class: "small", "data-do": "scale", "data-role": role, "data-by": "-1", "aria-label": `One of the ${name} less`, disabled: stopped || of(role) === 0}, "−"),
    h("span", {class: "count"}, String(of(role))),
    h("button", {type: "button", class: "small", "data-do": "scale", "data-role": role, "data-by": "1", "aria-label": `One of the ${name} more`, disabled: stopped}, "+"));
  const button = (what, text, kind = "small") => h("button", {key: what, type: "button", class: kind, "data-do": what, disabled: stopped}, text);
  say("controls", h("div", {class: "card controls", key: "open", role: "group", "aria-label": "Controls"}, scale("map", "mappers"), scale("reduce", "reducers"),
    button("restart-all", "Restart all"), button("verify", "Verify", "small"), button("drain", "End the run", "small danger"),
    h("button", {key: "lock", type: "button", class: "small end", "data-do": "lock"}, "Lock"),
    h("p", {class: steering.bad || /^(WRONG|Und|No)/.test(recountText()) ? "said warn" : "said soft", role: "status"}, [steering.said, recountText()].filter(Boolean).join(" "))));
}
document.addEventListener("click", event => {
  const button = event.target.closest?.("[data-do]");
  if (!button || button.disabled) return;
  const what = button.dataset.do, then = () => does(what, button.dataset);
  if (what === "lock") { forget(); steering.said = ""; showControls(); showWorkers(link.run); at("token")?.focus(); }
  else if (QUESTIONS[what]) asked(QUESTIONS[what](button.dataset.slot), then); else then();
});
document.addEventListener("submit", event => {
  if (event.target.id !== "unlock") return;
  event.preventDefault();
  unlock(at("token").value.trim());
});
