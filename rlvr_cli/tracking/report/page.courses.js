// How likely the gold answer is after every so many tokens of a response (rlvr inspect trajectories).

const COURSE = { w: 420, h: 64, left: 26, right: 4, top: 4, bottom: 14 };

/** A line from 0 to 1 over the tokens seen; dots where the greedy answer is right. */
function courseNode({ places, likely, right, thought }) {
  const { w, h, left, right: margin, top, bottom } = COURSE, last = Math.max(thought, 1);
  const x = (place) => left + (place / last) * (w - left - margin), y = (p) => h - bottom - p * (h - top - bottom);
  const tick = (p) => [
    svg("line", { x1: left, x2: w - margin, y1: y(p), y2: y(p), stroke: "#ddd", "stroke-width": 1 }),
    svg("text", { x: left - 4, y: y(p) + 3, "text-anchor": "end", "font-size": 9 }, String(p)),
  ];
  const points = places.map((place, i) => `${x(place).toFixed(1)},${y(likely[i]).toFixed(1)}`).join(" ");
  const said = (i) => `${likely[i]} after ${places[i]} of ${thought} tokens${right[i] ? "; the greedy answer is right" : ""}`;
  return el("div", { class: "course" }, note("likelihood of the gold answer, were it asked for here"),
    svg("svg", { class: "course-line", viewBox: `0 0 ${w} ${h}`, width: w, role: "img",
      "aria-label": `likelihood of the answer from ${likely[0]} to ${likely.at(-1)}` },
      [0, 0.5, 1].flatMap(tick),
      svg("polyline", { points, fill: "none", stroke: COLOURS[0], "stroke-width": 1.5 }),
      places.map((place, i) => svg("circle", { cx: x(place), cy: y(likely[i]), r: right[i] ? 2.5 : 1.5,
        fill: right[i] ? COLOURS[2] : COLOURS[0] }, svg("title", {}, said(i)))),
      svg("text", { x: w - margin, y: h - 3, "text-anchor": "end", "font-size": 9 }, `${thought} tokens`)));
}
