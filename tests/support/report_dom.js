// Runs the script of a report page (argv[2]) in node, with the few parts of a browser that it uses, and prints
// what the page then shows. Markup can come in by no way here but createElement: there is no innerHTML.
const fs = require("fs");
const html = fs.readFileSync(process.argv[2], "utf8");
const steps = JSON.parse(process.argv[3] || "[]");

class Node {
  constructor(tag, text) {
    Object.assign(this, { tag, attributes: {}, listeners: {}, childNodes: [], parent: null, text: text ?? null });
    this.hidden = false;
  }
  get children() { return this.childNodes.filter((child) => child.tag); }
  append(...nodes) {
    for (const each of nodes) {
      const node = typeof each === "object" ? each : new Node(null, String(each));
      if (node.parent) node.parent.childNodes = node.parent.childNodes.filter((child) => child !== node);
      node.parent = this;
      this.childNodes.push(node);
    }
  }
  replaceChildren(...nodes) {
    this.childNodes = [];
    this.append(...nodes);
  }
  setAttribute(name, value) {
    this.attributes[name] = String(value);
    if (name === "open" || name === "value" || name === "checked" || name === "hidden") this[name] = value === "" || value;
  }
  addEventListener(name, call) { this.listeners[name] = call; }
  getBoundingClientRect() { return { left: 0, width: 420 }; }
  get textContent() { return this.tag ? this.childNodes.map((child) => child.textContent).join("") : this.text; }
  set textContent(text) { this.replaceChildren(new Node(null, text)); }
  *all() { for (const child of this.childNodes) { yield child; yield* child.all(); } }
}

const ids = {};
for (const [, id] of html.matchAll(/<(?:section|p|h1)[^>]* id="([\w-]+)"/g)) ids[id] = new Node("section");
for (const [, id, text] of html.matchAll(/<script type="text\/plain" id="([\w-]+)">([^<]*)<\/script>/g)) {
  ids[id] = new Node("script");
  ids[id].textContent = text;
}
for (const [, type, id, text] of html.matchAll(/<script type="(image\/\w+)" id="([\w-]+)">([^<]*)<\/script>/g)) {
  ids[id] = Object.assign(new Node("script"), { type });
  ids[id].textContent = text;
}
globalThis.document = {
  getElementById: (id) => ids[id],
  createElement: (tag) => new Node(tag),
  createElementNS: (_, tag) => new Node(tag),
  createTextNode: (text) => new Node(null, text),
};
globalThis.IntersectionObserver = class {
  constructor(call) { this.call = call; }
  observe(target) { queueMicrotask(() => this.call([{ target, isIntersecting: true }])); }
  unobserve() {}
};

const script = html.match(/<script>([\s\S]*)<\/script>/)[1];
const SETTLE = 260;  // more than the search box waits for the next letter
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const text = () => Object.values(ids).map((node) => node.textContent).join("");
/** Until nothing changes any more, however slow the machine is. */
async function settle() {
  let before;
  do {
    before = text();
    await wait(SETTLE);
  } while (before !== text() || ids.rollouts.textContent.includes("reading "));
}
const labelled = (name) => [...ids.rollouts.all()].find((node) => node.tag === "select" && node.parent.textContent.startsWith(name));
const actions = {
  choose: ([name, value]) => { const node = labelled(name); node.value = value; return node.listeners.change(); },
  search: ([text]) => {
    const node = [...ids.rollouts.all()].find((each) => each.tag === "input" && each.attributes.type === "search");
    node.value = text;
    return node.listeners.input();
  },
  open: () => [...ids.rollouts.all()].filter((each) => each.tag === "details").forEach((each) => {
    each.open = true;
    each.listeners.toggle?.();
  }),
  smooth: ([value]) => {
    const node = [...ids.curves.all()].find((each) => each.attributes.type === "range");
    node.value = value;
    node.listeners.input();
  },
  hover: ([title, x]) => {
    const plot = [...ids.curves.all()].find((each) => each.tag === "svg" && each.attributes["aria-label"] === title);
    plot.onpointermove({ clientX: x });
  },
};
Object.defineProperty(Node.prototype, "value", { writable: true, value: "" });

async function run() {
  const begun = performance.now();
  (0, eval)(script);
  while (!ids.rollouts.textContent && !ids.problem.textContent) await wait(5);  // the last section to be drawn
  const opened = performance.now() - begun;
  await settle();
  const after = [];  // what the rollout browser shows after each action
  for (const [name, ...rest] of steps) {
    await actions[name](rest);
    await settle();
    after.push(ids.rollouts.textContent);
  }
  const shown = Object.fromEntries(Object.entries(ids).filter(([, node]) => node.tag === "section").map(([id, node]) => [id, node.textContent]));
  const tags = [...new Set(Object.values(ids).flatMap((node) => [...node.all()].map((each) => each.tag)))].filter(Boolean);
  const heat = [...ids.rollouts.all()].filter((each) => each.tag === "span" && (each.attributes.style || "").includes("rgba("));
  const marks = [...ids.curves.all()].filter((each) => (each.attributes.class || "").startsWith("mark")).map((each) => each.textContent);
  const paths = [...ids.curves.all()].filter((each) => each.tag === "path").map((each) => each.attributes.d);
  const boxes = [...ids.rollouts.all()].filter((each) => each.tag === "rect")
    .map(({ attributes: { x, y, width, height } }) => [x, y, width, height].map(Number));
  process.stdout.write(JSON.stringify({ shown, after, tags, opened, paths, marks, boxes, heat: heat.map((each) => [each.textContent, each.attributes.title, each.attributes.style]),
    failed: ids.problem.hidden === false ? ids.problem.textContent : "" }));
}
run();
