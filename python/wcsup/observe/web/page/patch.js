// Changes the document where it differs from what is wanted, and nowhere else: a selection, the focus and a scrolled
// list outlive an update. A list's items have keys, so that an item that is new at its top moves none of the others.
const at = id => document.getElementById(id);

/** Describe an element; `key` tells it from its siblings, a property that begins with "--" is one of its style. */
function h(tag, attributes, ...children) {
  return {tag, attributes: attributes ?? {}, children: children.flat(Infinity).filter(one => known(one) && one !== false)};
}
function keyOf(one, place) {
  return typeof one === "object" ? `${one.tag}/${one.attributes.key ?? "#" + place}` : "text#" + place;
}
function make(one) {
  if (typeof one !== "object") return document.createTextNode("");
  return document.createElement(one.tag);
}
/** Set a text and keep the selection that begins or ends in it. */
function setText(node, text, selection) {
  if (node.data === text) return;
  node.data = text;
  if (selection?.anchorNode !== node && selection?.focusNode !== node) return;
  const within = (one, offset) => one === node ? Math.min(offset, text.length) : offset;
  getSelection().setBaseAndExtent(selection.anchorNode, within(selection.anchorNode, selection.anchorOffset),
    selection.focusNode, within(selection.focusNode, selection.focusOffset));
}
/** What is selected, if something is. To ask for it makes the browser lay the document out, so it is done once. */
function selected() {
  const held = getSelection();
  if (!held.rangeCount || held.isCollapsed) return null;
  const {anchorNode, anchorOffset, focusNode, focusOffset} = held;
  return {anchorNode, anchorOffset, focusNode, focusOffset};
}
function setAttributes(node, wanted) {
  const before = node.patched ?? {};
  for (const name of Object.keys(before)) if (!(name in wanted)) node.removeAttribute(name);
  for (const [name, value] of Object.entries(wanted)) {
    if (name === "key" || before[name] === value) continue;
    if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (value === false || !known(value)) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.patched = wanted;
}
/** Make an element's children what is described. */
function patch(parent, ...described) {
  fill(parent, described.flat(Infinity).filter(one => known(one) && one !== false), selected());
}
function fill(parent, wanted, selection) {
  const keys = wanted.map(keyOf), kept = new Set(keys), old = new Map();
  for (const node of [...parent.childNodes]) {
    if (kept.has(node.key) && !old.has(node.key)) old.set(node.key, node); else node.remove();
  }
  let next = parent.firstChild;
  wanted.forEach((one, place) => {
    let node = old.get(keys[place]);
    if (!node) { node = make(one); node.key = keys[place]; }
    if (node === next) next = next.nextSibling; else parent.insertBefore(node, next);
    if (typeof one !== "object") { setText(node, String(one), selection); return; }
    setAttributes(node, one.attributes);
    fill(node, one.children, selection);
  });
}
const say = (id, ...what) => patch(at(id), ...what);
const cell = (text, kind, more) => h("td", {class: kind, ...more}, text);
const headings = (...names) => h("thead", {}, h("tr", {}, names.map(name => typeof name === "string" ? h("th", {scope: "col"}, name) : h("th", {scope: "col", class: name[1]}, name[0]))));
