// Curves: a smoothed line over the faint raw one, or points with intervals; the values under the pointer
// are read out above the plot.

const W = 420, H = 190, LEFT = 54, RIGHT = 8, TOP = 6, BOTTOM = 20;
const FULL = { w: W, h: H, left: LEFT, right: RIGHT, top: TOP, bottom: BOTTOM };
const view = { smoothing: 7, log: false, hidden: new Set(), marks: [], marked: true };
const cards = new Set();

/** Centred moving average over an odd window that ignores null and narrows at the ends. */
function smooth(values, window) {
  const sums = [0], counts = [0];
  values.forEach((value, i) => {
    sums.push(sums[i] + (value ?? 0));
    counts.push(counts[i] + (value === null ? 0 : 1));
  });
  const half = Math.floor(window / 2);
  return values.map((_, i) => {
    const from = Math.max(i - half, 0), to = Math.min(i + half + 1, values.length);
    const count = counts[to] - counts[from];
    return count ? (sums[to] - sums[from]) / count : null;
  });
}
const windowOf = (count) => Math.max(Math.floor(count * view.smoothing / 100), 1) | 1;

/** Round numbers from low to high, about `count` of them. */
function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((each) => each >= rough * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(n * step || 0);  // not -0
  return found;
}

/** Round values from 10^low to 10^high: 1, 2, 5 of each power, of many powers some, within one those of a plain axis. */
function logTicks(low, high) {
  const powers = high - low;
  if (powers < 0.8) return ticks(10 ** low, 10 ** high, 5);
  const heads = powers < 2.5 ? [1, 2, 5] : [1], every = Math.ceil(powers / 6), found = [];
  for (let power = Math.ceil(low / every - 1) * every; power <= high; power += every) {
    found.push(...heads.map((head) => head * 10 ** power));
  }
  return found.filter((value) => value >= 10 ** low && value <= 10 ** high);
}

function span(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value === null) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

function scales(series, frame = FULL) {
  const [x0, x1] = span(series.flatMap((s) => s.steps));
  const values = series.flatMap((s) => [...s.values, ...(s.low || []), ...(s.high || []), ...(s.effect ? [0] : [])]);
  let [low, high] = span(values);
  const log = view.log && low > 0;
  if (log) [low, high] = [Math.log10(low), Math.log10(high)];
  const room = (high - low) * 0.04 || Math.abs(high) * 0.05 || 1;
  [low, high] = [low - room, high + room];
  const place = (value) => frame.top + (frame.h - frame.top - frame.bottom) * (1 - (value - low) / (high - low));
  return {
    first: x0,
    last: x1,
    x: (step) => frame.left + (frame.w - frame.left - frame.right) * (x1 > x0 ? (step - x0) / (x1 - x0) : 0.5),
    y: (value) => place(log ? Math.log10(value) : value),
    step: (x) => x0 + ((x - LEFT) / (W - LEFT - RIGHT)) * (x1 - x0),
    xs: x1 > x0 ? ticks(x0, x1, series[0].over ? 5 : 7).filter((tick) => series[0].over || Number.isInteger(tick)) : [x0],
    ys: log ? logTicks(low, high).map((tick) => [tick, place(Math.log10(tick))]) : ticks(low, high, 5).map((tick) => [tick, place(tick)]),
  };
}

function path(steps, values, scale) {
  let text = "", pen = "M";
  values.forEach((value, i) => {
    if (value === null) { pen = "M"; return; }
    text += `${pen}${scale.x(steps[i]).toFixed(1)} ${scale.y(value).toFixed(1)}`;
    pen = "L";
  });
  return text;
}

function axes(scale) {
  return [
    ...scale.ys.flatMap(([value, y]) => [
      svg("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y, y2: y }),
      svg("text", { x: LEFT - 4, y: y + 4, "text-anchor": "end" }, number(Number(value.toPrecision(4))).replace(/\.?0+e/, "e")),
    ]),
    ...scale.xs.map((step) => {
      const x = scale.x(step), last = x > W - RIGHT - 20;  // a long number in the middle would be cut at the edge
      return svg("text", { x: last ? W - 1 : x, y: H - 5, "text-anchor": last ? "end" : "middle" }, number(Number(step.toPrecision(4))));
    }),
  ];
}

/** Colour and length of the line that marks an event on every curve; what is not here is only in the list. */
const MARKS = {
  warning: ["var(--warn)", 6], error: ["var(--bad)", H], diagnosis: ["var(--warn)", H], action: ["var(--good)", H],
  restart: ["var(--soft)", H], rollback: ["var(--bad)", H], stage: ["var(--soft)", H], reset: ["var(--soft)", H],
};

/** Lines at the steps of a lone run's events; one a step and kind, with all its messages. Of several runs they are
 * short, on the run's own line; of groups there are none. */
function marks(series, scale) {
  if (!view.marked || lines.groups || series[0].over) return [];
  return series.flatMap((s) => {
    const found = new Map(), lone = series.length === 1;
    for (const event of view.marks[s.run]) {
      const key = `${event.step} ${event.kind}`, shown = MARKS[event.kind] && (lone || event.kind !== "warning");
      if (shown && event.step >= scale.first && event.step <= scale.last) {
        found.set(key, { ...event, message: [...(found.has(key) ? [found.get(key).message] : []), event.message].join("\n") });
      }
    }
    return [...found.values()].map((event) => (lone ? longMark(event, scale) : shortMark(event, s, scale)));
  });
}
const markTitle = ({ step, kind, message }, who) => svg("title", {}, `${who}step ${step}, ${kind}: ${visible(message)}`);
const longMark = (event, scale) => svg("line", {
  class: "mark", stroke: MARKS[event.kind][0], x1: scale.x(event.step), x2: scale.x(event.step), y2: H - BOTTOM,
  y1: Math.max(H - BOTTOM - MARKS[event.kind][1], TOP),
}, markTitle(event, ""));
function shortMark(event, s, scale) {
  if (s.interval) return null;  // evaluations are far apart: it would stand beside the line, as a whisker does
  const value = smooth(s.values, windowOf(s.values.length))[nearest(s.steps, event.step)];
  if (value === null) return null;
  const y = scale.y(value);
  return svg("line", { class: "mark own", stroke: s.colour, x1: scale.x(event.step), x2: scale.x(event.step), y1: y - 7, y2: y + 7 },
    markTitle(event, `${s.label}, `));
}

function drawn(s, scale, several) {
  const stroke = { fill: "none", stroke: s.colour, "stroke-dasharray": s.dashed ? "6 3" : null };
  if (s.band) return drawnBand(s, scale);
  if (s.effect) return drawnEffect(s, scale);
  if (s.over) return drawnOver(s, scale);
  if (s.interval) {
    const whiskers = s.steps.map((step, i) => s.values[i] === null || s.low[i] === null ? "" :
      `M${scale.x(step)} ${scale.y(s.low[i])}V${scale.y(s.high[i])}`).join("");
    const dots = s.steps.map((step, i) => s.values[i] === null ? null :
      svg("circle", { cx: scale.x(step), cy: scale.y(s.values[i]), r: 3, fill: s.colour }));
    return [svg("path", { ...stroke, d: path(s.steps, s.values, scale) }),
      svg("path", { fill: "none", stroke: s.colour, d: whiskers, "stroke-width": 1.5 }), ...dots];
  }
  const smoothed = smooth(s.values, windowOf(s.values.length));
  const faint = several > 4 ? [] : s.low ? [s.low, s.high] : [s.values];  // of many they would hide the lines
  const lone = s.steps.length === 1 && s.values[0] !== null;
  return [
    ...faint.map((values) => svg("path", { fill: "none", stroke: s.colour, opacity: 0.3, d: path(s.steps, values, scale) })),
    svg("path", { ...stroke, "stroke-width": 2, d: path(s.steps, smoothed, scale) }),
    lone ? svg("circle", { cx: scale.x(s.steps[0]), cy: scale.y(s.values[0]), r: 3, fill: s.colour }) : null,
  ];
}

function nearest(steps, step) {
  let from = 0, to = steps.length - 1;
  while (to - from > 1) {
    const middle = (from + to) >> 1;
    if (steps[middle] <= step) from = middle; else to = middle;
  }
  return Math.abs(steps[from] - step) < Math.abs(steps[to] - step) ? from : to;
}

function readout(series, step) {
  return series.flatMap((s) => {
    const i = nearest(s.steps, step);
    const around = s.low && s.low[i] !== null ? ` [${number(s.low[i])}, ${number(s.high[i])}]` : "";
    return [el("span", { class: "chip", style: `background:${s.colour}` }), `${s.label} `,
      el("b", {}, number(s.values[i])), `${around} at ${number(s.steps[i])}  `];
  });
}

/** A card that draws itself when it comes into view, and again when smoothing or the runs shown change. */
function chart(title, all) {
  const values = el("div", { class: "readout" });
  const plot = svg("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": title });
  const many = all.length > lines.looks.length, box = el("div", {}, plot);
  if (!many && all.length > 1) values.setAttribute("class", "tip");
  const card = { node: el("div", { class: many ? "card wide" : "card" }, el("h3", {}, title), many ? null : values, box), dirty: true, seen: false };
  card.draw = () => {
    card.dirty = false;
    const series = all.filter((s) => !view.hidden.has(s.run) && s.values.some((value) => value !== null));
    plot.replaceChildren();
    values.replaceChildren(...(series.length ? [] : [document.createTextNode("no value")]));
    if (!series.length) return;
    if (many) box.replaceChildren(multiples(series)); else inOne(series, plot, values, all.length > 1);
  };
  cards.add(card);
  watcher.observe(card.node);
  card.node.card = card;
  return card.node;
}

/** All lines on one plot; the values under the pointer, of a lone line its last one, in `values`. */
function inOne(series, plot, values, several) {
  const scale = scales(series);
  const rule = svg("line", { class: "rule", y1: TOP, y2: H - BOTTOM, visibility: "hidden" });
  fill(plot, {}, [...axes(scale), ...marks(series, scale), ...series.flatMap((s) => drawn(s, scale, series.length)), rule]);
  const read = (step) => values.replaceChildren(...(several ? tip(series, step) : fill(el("span"), {}, readout(series, step)).childNodes));
  const last = () => {
    rule.setAttribute("visibility", "hidden");
    if (several) values.replaceChildren(); else read(Infinity);
  };
  plot.onpointermove = (event) => {
    const box = plot.getBoundingClientRect();
    const step = scale.step((event.clientX - box.left) / box.width * W);
    const near = series.map((s) => s.steps[nearest(s.steps, step)]);
    const there = near.reduce((a, b) => (Math.abs(b - step) < Math.abs(a - step) ? b : a)), x = scale.x(there);
    for (const [name, value] of [["x1", x], ["x2", x], ["visibility", "visible"]]) rule.setAttribute(name, value);
    if (several) values.setAttribute("class", x > W / 2 ? "tip left" : "tip");
    read(several ? there : step);
  };
  plot.onpointerleave = last;
  last();
}

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.card.seen = isIntersecting;
    if (isIntersecting && target.card.dirty) target.card.draw();
  }
}, { rootMargin: "300px" });

function redraw() {
  for (const card of cards) {
    card.dirty = true;
    if (card.seen) card.draw();
  }
}
function forget(node) {
  for (const each of node.children) {
    if (each.card) { watcher.unobserve(each); cards.delete(each.card); }
  }
  node.replaceChildren();
}
