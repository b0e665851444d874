"use strict";
// What the rest is made of. Text from runs reaches the page as text nodes only, never as markup.

// Okabe and Ito's palette, as in curves.png: told apart also by the colour-blind; two more for phases.
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#8C564B", "#BCBD22"];
const colour = (index) => COLOURS[index % COLOURS.length];

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) {
      node.append(typeof child === "object" ? child : document.createTextNode(String(child)));
    }
  }
  return node;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const at = (id) => document.getElementById(id);

/** The JSON value of a base64 block of gzip. */
async function unpack(id) {
  const text = atob(at(id).textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);  // Uint8Array.from takes several times as long
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** About three digits; `-` for no value. */
function number(value) {
  if (value === null || value === undefined) return "-";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return value.toLocaleString("en");
  if (size < 0.001 || size >= 1e7) return value.toExponential(2);
  return value.toLocaleString("en", { maximumSignificantDigits: size < 1000 ? 4 : 6 });
}
const percent = (share) => `${(100 * share).toFixed(1)}%`;

function clock(seconds) {
  const whole = Math.round(seconds);
  const two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

/** Model text without what steers its display: controls, and marks that turn the direction of writing. */
const visible = (text) =>
  String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");

/** A value of a recipe; 0.00002 as 2e-5, which is how it was written. */
const plain = (value) => typeof value === "string" ? value :
  typeof value === "number" && value !== 0 && Math.abs(value) < 0.001 ? value.toExponential() : JSON.stringify(value);

function table(head, rows, numeric) {
  const cell = (value, index) => el("td", { class: index >= numeric ? "n" : "wrap" }, value);
  return el("div", { class: "scroll" }, el("table", {},
    el("thead", {}, el("tr", {}, head.map((title) => el("th", {}, title)))),
    el("tbody", {}, rows.map((row) => el("tr", { class: row.kind || null }, (row.cells || row).map(cell))))));
}
const chip = (index) => el("span", { class: "chip", style: `background:${colour(index)}` });
const named = (index, name) => el("span", { class: "name" }, chip(index), name);  // never on two lines
const note = (text) => el("p", { class: "note" }, text);
const heading = (text) => el("h2", {}, text);

function choice(label, options, change) {
  const select = el("select", { onchange: change },
    options.map(([value, text]) => el("option", { value }, text)));
  select.value = options.length ? options[0][0] : "";
  return { select, node: el("label", {}, label, select) };
}
