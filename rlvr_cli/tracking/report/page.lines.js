// Lines of several runs: how each looks, the one legend of the page, groups as bands, small multiples of many.

const lines = { looks: [{ colour: COLOURS[0], dashed: false }], groups: null, names: [] };
const look = (index) => lines.looks[index % lines.looks.length];
const MINI = { w: 150, h: 96, left: 34, right: 4, top: 5, bottom: 13 };

/** A short piece of the line of a run or group. */
function sample(index) {
  const { colour: stroke, dashed } = look(index);
  return svg("svg", { class: "sample-line", viewBox: "0 0 24 8", "aria-hidden": "true" },
    svg("line", { x1: 0, x2: 24, y1: 4, y2: 4, stroke, "stroke-width": 3, "stroke-dasharray": dashed ? "6 3" : null }));
}
/** The line a run is drawn with: its group's, where there are groups. */
const lineOf = (run) => (lines.groups ? lines.groups.findIndex((group) => group.runs.includes(run)) : run);
const namedRun = (index, name) =>
  el("span", { class: "name" }, lines.names.length > lines.looks.length ? null : sample(lineOf(index)), name);

/** Names with boxes to hide their lines; of one line, or of more than have a look of their own, there is none. */
function pageLegend() {
  if (lines.names.length < 2 || lines.names.length > lines.looks.length) return;
  fill(at("legend"), {}, lines.names.map((name, index) => {
    const box = el("input", { type: "checkbox", checked: true, onchange: () => {
      view.hidden[box.checked ? "delete" : "add"](index);
      redraw();
    } });
    return el("label", { class: "name" }, box, sample(index), name);
  }));
  at("legend").hidden = false;
}

function runSeries(data, name) {
  return data.runs.flatMap((run, index) => {
    const metric = run.metrics[name];
    if (!metric) return [];
    return [{ run: index, label: run.name, ...look(index), steps: run.grids[metric.grid], ...metric }];
  });
}

/** How a run's metric goes with its distance from the reference: by the root of the KL, as reward models are judged
 * (Gao et al., 2210.10760). Runs of a group have the group's look. */
function overDistance(data, name) {
  return runSeries(data, "actor/ref_kl").flatMap((far) => {
    const run = data.runs[far.run], metric = run.metrics[name];
    if (!metric) return [];
    const known = new Map(run.grids[metric.grid].map((step, i) => [step, metric.values[i]]));
    const points = far.steps.flatMap((step, i) => far.values[i] === null || (known.get(step) ?? null) === null ? [] :
      [[Math.sqrt(Math.max(far.values[i], 0)), known.get(step)]]).sort((a, b) => a[0] - b[0]);
    return points.length < 2 ? [] : [{ run: lineOf(far.run), label: run.name, ...look(lineOf(far.run)), over: "\u221aKL",
      steps: points.map(([x]) => x), values: points.map(([, y]) => y) }];
  });
}

/** A dot for each step, and their mean among the steps as far away: neighbours here were none in time. */
function drawnOver(s, scale) {
  const near = smooth(s.values, Math.max(windowOf(s.values.length), Math.floor(s.values.length / 4)) | 1);
  return [...s.values.map((value, i) => svg("circle", { cx: scale.x(s.steps[i]), cy: scale.y(value), r: 1.8, fill: s.colour, opacity: 0.45 })),
    svg("path", { fill: "none", stroke: s.colour, "stroke-width": 2, "stroke-dasharray": s.dashed ? "6 3" : null, d: path(s.steps, near, scale) })];
}

/** A line for each run, or a band for each group. */
function series(data, name) {
  const single = runSeries(data, name);
  if (!lines.groups) return single;
  return lines.groups.flatMap((group, index) => {
    const members = single.filter((s) => group.runs.includes(s.run));
    return members.length ? [{ run: index, label: group.name, ...look(index), ...banded(members) }] : [];
  });
}

/** The steps that all members have, the members there, their mean, lowest and highest. */
function banded(members) {
  const places = members.map((s) => new Map(s.steps.map((step, i) => [step, i])));
  const steps = members[0].steps.filter((step) => places.every((place) => place.has(step)));
  const inner = members.map((s, m) => steps.map((step) => s.values[places[m].get(step)]));
  return { band: true, steps, members: inner, ...around(inner, steps.length) };
}
function around(members, count) {
  const values = [], low = [], high = [];
  for (let i = 0; i < count; i++) {
    const each = members.map((member) => member[i]), known = !each.includes(null);
    values.push(known ? each.reduce((a, b) => a + b, 0) / each.length : null);
    low.push(known ? Math.min(...each) : null);
    high.push(known ? Math.max(...each) : null);
  }
  return { values, low, high };
}

/** Runs are smoothed before their mean is taken, so that the band is that of what is drawn of one run. */
function drawnBand(s, scale) {
  const smoothed = s.raw ? s.members : s.members.map((values) => smooth(values, windowOf(values.length)));
  const { values, low, high } = around(smoothed, s.steps.length);
  const known = s.steps.map((_, i) => i).filter((i) => values[i] !== null);
  const point = (edge) => (i) => `${scale.x(s.steps[i]).toFixed(1)} ${scale.y(edge[i]).toFixed(1)}`;
  const edges = [...known.map(point(low)), ...known.reverse().map(point(high))];
  return [
    edges.length > 2 ? svg("path", { fill: s.colour, opacity: 0.18, stroke: "none", d: `M${edges.join("L")}Z` }) : null,
    svg("path", { fill: "none", stroke: s.colour, "stroke-width": 2, "stroke-dasharray": s.dashed ? "6 3" : null,
      d: path(s.steps, values, scale) }),
    ...(s.raw || s.steps.length === 1 ? known.map((i) =>
      svg("circle", { cx: scale.x(s.steps[i]), cy: scale.y(values[i]), r: 3, fill: s.colour })) : []),
    known.length === 1 ? svg("path", { fill: "none", stroke: s.colour, "stroke-width": 1.5, d: `M${edges.join("L")}` }) : null,
  ];
}

/** A panel for each line, the others behind it in grey, all on the same axes. */
function multiples(all) {
  const scale = scales(all, MINI), grey = all.map((s) => path(s.steps, smooth(s.values, windowOf(s.values.length)), scale)).join("");
  return el("div", { class: "minis" }, all.map((s, index) => {
    const plot = svg("svg", { viewBox: `0 0 ${MINI.w} ${MINI.h}`, role: "img", "aria-label": s.label });
    const stroke = look(index % 6).colour, values = smooth(s.values, windowOf(s.values.length));
    const [low, high] = [scale.ys[0], scale.ys.at(-1)];
    fill(plot, {}, [
      svg("path", { fill: "none", stroke: "var(--line)", "stroke-width": 0.8, d: grey }),
      ...[low, high].map(([value, y]) => svg("text", { x: MINI.left - 3, y: y + 4, "text-anchor": "end" }, number(Number(value.toPrecision(3))))),
      svg("text", { x: MINI.w - 1, y: MINI.h - 2, "text-anchor": "end" }, number(scale.last)),
      svg("path", { fill: "none", stroke, "stroke-width": 1.6, d: path(s.steps, values, scale) }),
    ]);
    const last = s.values.filter((value) => value !== null).at(-1);
    return el("figure", {}, el("figcaption", { title: s.label }, `${s.label} `, el("b", {}, number(last))), plot);
  }));
}

/** Both ends of a long name: names of runs differ there. */
const middleCut = (text, most = 24) =>
  text.length <= most ? text : `${text.slice(0, most / 2 - 1)}\u2026${text.slice(-most / 2)}`;

/** What is under the pointer at a step, the largest first, in a box over the plot. */
function tip(all, step) {
  const rows = all.map((s) => [s, s.values[nearest(s.steps, step)], s.steps[nearest(s.steps, step)]])
    .filter(([, value]) => value !== null).sort((a, b) => b[1] - a[1]);
  return [el("div", {}, `${all[0].over ?? "step"} ${number(step)}`), ...rows.map(([s, value, where]) => el("div", {}, sample(s.run),
    `${middleCut(s.label)} `, el("b", {}, number(value)), where === step ? null : ` at ${number(where)}`))];
}

/** What groups reach, and whether one is best. */
function groupTables(data) {
  if (!data.groups) return;
  const section = fill(at("groups"), {}, [heading("Groups"), ...data.notes.map(note)]);
  for (const measure of data.measures) {
    const rows = measure.rows.map((row, index) => [el("span", { class: "name" }, sample(index),
      data.groups[index].name + (measure.best === index ? " *" : "")), ...row]);
    fill(section, {}, [el("h3", {}, measure.metric.replace(/^eval\//, "")), table(["group", "mean", "95% interval", "runs", "each run"], rows, 1),
      el("pre", { class: "said" }, measure.said.join("\n"))]);
  }
}
