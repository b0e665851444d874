// The sections of the page.

const MAIN = {
  rl: ["reward/mean", "reward/correct_fraction", "reward/score", "actor/entropy", "actor/grad_norm", "response_length/mean",
    "response_length/truncated_fraction", "group/zero_signal_fraction", "actor/ref_kl", "mismatch/k3",
    "critic/explained_variance", "perf/tokens_per_second", "actor/lr"],
  sft: ["train/loss", "eval/loss", "train/token_accuracy", "eval/token_accuracy", "train/grad_norm",
    "perf/tokens_per_second", "train/lr"],
  preference: ["train/loss", "eval/loss", "rewards/accuracies", "eval/accuracy", "rewards/margins", "logps/chosen",
    "logps/rejected", "train/grad_norm", "perf/tokens_per_second", "train/lr"],
  eval: [],
  experience: ["reward/correct_fraction", "reward/mean", "experience/size", "experience/kept", "experience/tokens",
    "response_length/mean"],
};

/** Drawn over the distance from the reference too: what the run's verifier says, and what a second one does. */
const FRONTIER = ["reward/score", "audit/score"];

const LOUD = ["warning", "error", "diagnosis", "action", "restart", "rollback"];

const names = (data) => [...new Set(data.runs.flatMap((run) => Object.keys(run.metrics)))];

function overview(data) {
  const rows = data.runs.map((run, index) => {
    const seconds = Object.values(run.phases).reduce((a, b) => a + b, 0);
    const planned = run.recipe["trainer.steps"] ?? run.recipe["algorithm.steps"];
    const warnings = run.events.filter((event) => LOUD.includes(event.kind)).length;
    return [namedRun(index, run.name), run.kind, run.state,
      run.kind === "eval" ? "-" : `${number(run.last_step)}${planned ? ` of ${number(planned)}` : ""}`,
      clock(seconds), number(warnings), (run.environment.utc || "-").slice(0, 16).replace("T", " ")];
  });
  fill(at("runs"), {}, [heading("Runs"),
    table(["run", "kind", "state", "steps", "time", "warnings", "started (UTC)"], rows, 3),
    note(`Written ${new Date(data.written * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC.` +
      (data.runs.some((run) => run.state === "running") ? " A run was going on; the same command draws the page anew." : ""))]);
}

function curves(data) {
  const present = new Set(names(data));
  const main = [...new Set(data.runs.flatMap((run) => MAIN[run.kind]))].filter((name) => present.has(name));
  const amount = el("output", {}, `${view.smoothing}%`);
  const slider = el("input", { type: "range", min: 0, max: 50, value: view.smoothing, oninput: () => {
    view.smoothing = Number(slider.value);
    amount.textContent = `${view.smoothing}%`;
    redraw();
  } });
  const log = el("input", { type: "checkbox", onchange: () => { view.log = log.checked; redraw(); } });
  const marked = el("input", { type: "checkbox", checked: true, onchange: () => { view.marked = marked.checked; redraw(); } });
  const binned = data.runs.some((run) => Object.values(run.metrics).some((metric) => metric.low));
  fill(at("curves"), {}, [heading("Curves"),
    el("div", { class: "bar" }, el("label", {}, "smoothing over ", slider, amount, " of a run"), el("label", {}, log, "logarithmic"),
      el("label", { title: "lines at the steps of diagnoses, actions, restarts, rollbacks, stages, resets and errors; " +
        "short ones at warnings" }, marked, "events")),
    main.length ? null : note("No steps are recorded."),
    binned ? note(`Longer curves are averaged to ${number(data.points)} points; the faint lines are each bin's extremes.`) : null,
    el("div", { class: "cards" }, main.map((name) => chart(name, series(data, name))),
      FRONTIER.map((name) => [name, overDistance(data, name)]).filter(([, found]) => found.length)
        .map(([name, found]) => chart(`${name} over the root of actor/ref_kl`, found)))]);
}

/** [bench, name of its mean] */
function benches(data) {
  return names(data).flatMap((name) => {
    const match = /^eval\/(.+)\/avg@\d+$/.exec(name);
    return match ? [[match[1], name]] : [];
  });
}

function evaluations(data) {
  const found = benches(data), rows = [];
  const plots = found.map(([bench, name]) => {
    const single = runSeries(data, name).map((s) => {
      const run = data.runs[s.run];
      const [low, high] = ["low", "high"].map((end) => run.metrics[`eval/${bench}/ci95_${end}`]);
      const last = s.values.length - 1;
      const best = s.values.reduce((a, v, i) => (v !== null && (a < 0 || v > s.values[a]) ? i : a), -1);
      const shown = (i) => i < 0 || s.values[i] === null ? "-" : percent(s.values[i]) +
        (low && low.values[i] !== null ? ` [${percent(low.values[i])}, ${percent(high.values[i])}]` : "");
      rows.push([bench, namedRun(s.run, run.name), name.split("/").at(-1), shown(0), shown(last),
        best < 0 ? "-" : `${shown(best)} at ${number(s.steps[best])}`]);
      return low && high ? { ...s, low: low.values, high: high.values, interval: true } : s;
    });
    return chart(name, lines.groups ? series(data, name).map((s) => ({ ...s, raw: true })) : single);
  });
  fill(at("evaluations"), {}, [heading("Evaluations"),
    found.length ? note("Intervals: 95% over problems." + (lines.groups ? " Curves: means over the runs of a group, bands from the lowest to the highest." : "")) : note("No benchmark results are recorded."),
    found.length ? table(["bench", "run", "metric", "first", "last", "best"], rows, 3) : null,
    el("div", { class: "cards" }, plots)]);
}

function times(data) {
  const section = fill(at("time"), {}, [heading("Time by phase")]);
  data.runs.forEach((run, index) => {
    const entries = Object.entries(run.phases), total = entries.reduce((sum, [, s]) => sum + s, 0);
    if (!total) return section.append(note(`${run.name}: no times are recorded.`));
    const strip = entries.map(([name, s], i) =>
      el("span", { title: `${name} ${percent(s / total)}`, style: `width:${100 * s / total}%;background:${colour(i)}` }));
    const parts = data.runs.length > 4 ? (inner) => el("details", {}, el("summary", {}, "phases"), el("div", {}, inner)) : (inner) => inner;
    fill(section, {}, [el("p", {}, namedRun(index, `${run.name}: ${clock(total)}`)), el("div", { class: "phase" }, strip),
      parts(table(["phase", "share", "time", "seconds a step"], entries.map(([name, s], i) =>
        [named(i, name), percent(s / total), clock(s), run.last_step ? number(s / run.last_step) : "-"]), 1))]);
  });
}

function events(data) {
  const section = fill(at("events"), {}, [heading("Events")]);
  const all = data.runs.flatMap((run, index) => run.events.map((event) => ({ ...event, index })))
    .sort((a, b) => (a.time ?? 0) - (b.time ?? 0));
  const list = el("div");
  const show = () => list.replaceChildren(table(["run", "kind", "message", "step", "time (UTC)"],
    all.filter((event) => !kind.select.value ||
      (kind.select.value === "loud" ? LOUD.includes(event.kind) : event.kind === kind.select.value)).map((event) => ({
      kind: ["error", "rollback"].includes(event.kind) ? "error" : LOUD.includes(event.kind) ? "warning" : null,
      cells: [namedRun(event.index, data.runs[event.index].name), event.kind, visible(event.message),
        number(event.step), event.time ? new Date(event.time * 1000).toISOString().slice(0, 19).replace("T", " ") : "-"],
    })), 3));
  const kinds = [...new Set(all.map((event) => event.kind))].sort().map((each) => [each, visible(each)]);
  const kind = choice("kind", [["", "all"], ["loud", "all but the ordinary"], ...kinds], show);
  const left = data.runs.filter((run) => run.events.length < run.events_recorded)
    .map((run) => note(`${run.name}: the newest ${number(run.events.length)} of ${number(run.events_recorded)} events.`));
  if (!all.length) return section.append(note("No events are recorded."));
  fill(section, {}, [el("div", { class: "bar" }, kind.node), ...left, list]);
  show();
}

function recipes(data) {
  const section = fill(at("recipe"), {}, [heading("Recipe")]);
  const value = (each) => (each === null || each === undefined ? "-" : visible(plain(each)));
  const heads = data.runs.map((run, i) => namedRun(i, run.name));
  if (data.runs.length > 1) {
    const differing = Object.entries(data.differences);
    const asRows = () => table(["differs", ...differing.map(([key]) => key)],
      heads.map((head, i) => [head, ...differing.map(([, each]) => value(each[i]))]), 99);
    section.append(!differing.length ? note("The recipes are the same.") : heads.length > 4 ? asRows()
      : table(["differs", ...heads], differing.map(([key, each]) => [key, ...each.map(value)]), 99));
  }
  data.runs.forEach((run, i) => {
    const facts = { ...run.environment, ...run.environment.packages };
    delete facts.packages;
    for (const [title, entries] of [["recipe", run.recipe], ["environment", facts]]) {
      section.append(el("details", {}, el("summary", {}, namedRun(i, `${run.name}: ${title}`)),
        el("div", {}, table(["key", "value"], Object.entries(entries).map(([key, each]) => [key, value(each)]), 99))));
    }
  });
}

function metrics(data) {
  const all = names(data).sort(), list = el("div", { class: "cards" }), count = el("p", { class: "note" });
  const box = el("input", { type: "search", size: 28, placeholder: "part of a name, e.g. mismatch", oninput: () => show() });
  const show = () => {
    const word = box.value.trim().toLowerCase();
    const found = all.filter((name) => name.toLowerCase().includes(word));
    count.textContent = `${found.length} of ${all.length} metrics`;
    forget(list);
    list.append(...found.map((name) => chart(name, series(data, name))));
  };
  fill(at("metrics"), {}, [heading("All metrics"), el("div", { class: "bar" }, box), count, list]);
  show();
}

async function main() {
  if (typeof DecompressionStream === "undefined") throw new Error("this browser is too old: it has no DecompressionStream");
  const data = await unpack("data");
  at("title").textContent = data.title;
  Object.assign(lines, { looks: data.looks, groups: data.groups, names: (data.groups || data.runs).map((each) => each.name) });
  pageLegend();
  view.marks = data.runs.map((run) => run.events);
  for (const draw of [overview, groupTables, effects, experiences, curves, evaluations, times, events, recipes, metrics]) draw(data);
  await rollouts(data);
}
main().catch((error) => {
  at("problem").hidden = false;
  at("problem").textContent = `The page cannot be drawn: ${error.message}`;
});
