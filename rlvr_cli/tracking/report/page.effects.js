// What groups reach above a control: a table of each measure, and the course of run minus control.

function effects(data) {
  const found = data.effects;
  if (!found) return;
  const name = data.groups[found.control].name;
  const section = fill(at("groups"), {}, [el("h2", {}, `Effect over the control ${name}`),
    note("Group minus control with 95% intervals: of benches over runs and problems, paired by problem; of the rest over runs alone. " +
      "An interval that has 0 in it may be chance.")]);
  for (const measure of found.measures) {
    fill(section, {}, [el("h3", {}, measure.metric.replace(/^eval\//, "")),
      measure.rows.length ? table(["group", "minus control", "95% interval", "p"],
        measure.rows.map(([group, ...cells]) => [el("span", { class: "name" }, sample(group), data.groups[group].name), ...cells]), 1) : null,
      ...measure.said.map(note)]);
  }
  fill(section, {}, [el("div", { class: "cards" }, Object.entries(found.courses).map(([metric, each]) =>
    chart(`${metric.replace(/^eval\//, "")}, minus control`, each.map((s) => ({ ...s, effect: true, run: s.group, label: data.groups[s.group].name, ...look(s.group) })))))]);
}

/** A line over its band, dots where steps are few, and the level at which there is no effect. */
function drawnEffect(s, scale) {
  const known = s.steps.map((_, i) => i).filter((i) => s.values[i] !== null);
  const sure = known.filter((i) => s.low[i] !== null), zero = scale.y(0);
  const point = (edge) => (i) => `${scale.x(s.steps[i]).toFixed(1)} ${scale.y(edge[i]).toFixed(1)}`;
  const edges = [...sure.map(point(s.low)), ...[...sure].reverse().map(point(s.high))];
  return [
    svg("line", { class: "rule", x1: LEFT, x2: W - RIGHT, y1: zero, y2: zero }),
    edges.length > 2 ? svg("path", { fill: s.colour, opacity: 0.15, stroke: "none", d: `M${edges.join("L")}Z` }) : null,
    edges.length === 2 ? svg("path", { fill: "none", stroke: s.colour, "stroke-width": 1.5, d: `M${edges.join("L")}` }) : null,
    svg("path", { fill: "none", stroke: s.colour, "stroke-width": 2, "stroke-dasharray": s.dashed ? "6 3" : null, d: path(s.steps, s.values, scale) }),
    ...(known.length <= 20 ? known.map((i) => svg("circle", { cx: scale.x(s.steps[i]), cy: scale.y(s.values[i]), r: 3, fill: s.colour })) : []),
  ];
}
