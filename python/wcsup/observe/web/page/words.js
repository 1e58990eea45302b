// The words of this host's reducers, and the total of any word.
const LOOK_AGAIN_MILLISECONDS = 5000, RATE_SECONDS = 10, MOST_WORDS = 12;
const search = {word: null, looks: [], why: null, busy: false, timer: 0};
let topSeen = [];  // {at, totals}: the list of frequent words of the last seconds, for their rates

function topRate(word, total) {
  const first = topSeen.find(one => one.totals.has(word)), now = topSeen.at(-1);
  return !first || first === now || now.at - first.at < 2000 ? null : (total - first.totals.get(word)) / (now.at - first.at) * 1000;
}
function showWords(run) {
  const here = run.words_here, now = Date.now();
  if (!here) {
    say("words-as-of", ""); say("top"); say("unlisted", "");
    say("words-figures", h("div", {}, h("dt", {}, "distinct words"), h("dd", {}, UNKNOWN)));
    return;
  }
  say("words-as-of", here.as_of ? `as of ${timeOf(here.as_of)}: a reducer is away` : "");
  say("words-figures", [["distinct words", count(here.distinct)], ["in all", count(here.total)], ["on disk", size(here.state_bytes)]].map(([name, value]) =>
    h("div", {key: name}, h("dt", {}, name), h("dd", {}, value))));
  if (here.as_of) topSeen = []; else topSeen = [...topSeen.filter(one => now - one.at < RATE_SECONDS * 1000), {at: now, totals: new Map(here.top.slice(0, MOST_WORDS))}];
  say("top", headings("Most frequent", ["Total", "n"], ["A second", "n"], [h("span", {class: "unseen"}, "Beside the first")]), h("tbody", {}, here.top.slice(0, MOST_WORDS).map(([word, total]) => {
    const rate = topRate(word, total);
    return h("tr", {key: word}, cell(word, "w", {title: word}), cell(count(total), "n"), cell(known(rate) ? "+" + perSecond(Math.max(0, rate)) : "–", "n soft"),
      h("td", {class: "share"}, h("span", {class: "meter"}, h("i", {"--share": (total / here.top[0][1]).toFixed(4)}))));
  })));
  say("unlisted", here.unlisted === null ? "Whether words are too long to be listed is not known." : here.unlisted ? `${plural(here.unlisted, "word")} ${here.unlisted === 1 ? "is" : "are"} too long to be listed.` : "");
}
function showFound() {
  const {word, looks, why, busy} = search, last = looks.at(-1);
  if (word === null) { say("found"); return; }
  if (why) { say("found", h("p", {class: "warn"}, why)); return; }
  if (!last) { say("found", h("p", {class: "soft"}, busy ? "looking …" : "")); return; }
  const first = looks.find(one => last.at - one.at <= RATE_SECONDS * 1000 + 1000) ?? last, seconds = (last.at - first.at) / 1000;
  const rate = seconds >= 1 ? `${last.told.count >= first.told.count ? "+" : ""}${perSecond((last.told.count - first.told.count) / seconds)} a second over the last ${span(seconds)}` : null;
  const told = last.told;
  say("found", h("p", {class: "big"}, count(told.count), " ", h("small", {}, told.word)),
    h("p", {class: "soft"}, rate ?? (told.owner ? "its rate is being measured" : "look again for its rate")),
    h("p", {class: "soft"}, `as of offset ${count(told.offset)} of its partition of counts`,
      told.committed_at ? `, committed ${timeOf(told.committed_at)}` : "", told.owner ? `, told by ${told.owner}` : ", read from the topic"),
    told.behind ? h("p", {class: "warn"}, `${told.owner ?? "its owner"} is opening its store: what was counted since is not in it.`) : null);
}
async function lookUp(word) {
  clearTimeout(search.timer);
  search.busy = true;
  showFound();
  try {
    const answer = await fetch("counts/" + encodeURIComponent(word), {cache: "no-store", signal: AbortSignal.timeout(30000)});
    if (search.word !== word) return;
    if (answer.ok) { search.why = null; search.looks = [...search.looks, {at: Date.now(), told: await answer.json()}].slice(-10); }
    else search.why = (await answer.text()).trim();
  } catch { if (search.word !== word) return; search.why = "no answer"; }
  search.busy = false;
  showFound();
  const owned = search.looks.at(-1)?.told.owner;  // a reducer tells it at once; reading the topic takes a second, and is not done again and again
  if (!search.why && owned) search.timer = setTimeout(() => document.hidden ? null : lookUp(word), LOOK_AGAIN_MILLISECONDS);
}
at("search").addEventListener("submit", asked => {
  asked.preventDefault();
  const word = at("word").value.trim();
  if (word !== search.word) Object.assign(search, {word: word || null, looks: [], why: null});
  if (word) lookUp(word); else { clearTimeout(search.timer); showFound(); }
});
