// The rollout browser: groups of the steps on this page, unpacked when they are looked at.

const PAGE = 20;
const blocks = new Map();

function load(chunk) {
  if (!blocks.has(chunk.id)) blocks.set(chunk.id, unpack(chunk.id));
  return blocks.get(chunk.id);
}

function standing(sample) {
  if (sample.correct === null || sample.correct === undefined) return "none";
  if (sample.correct >= 1) return "right";
  // Runs of earlier versions have the share of the credit in `correct`, as a number.
  return (sample.correct === false ? sample.score : sample.correct) > 0 ? "part" : "wrong";
}
const reasons = (sample) => Object.values(sample.verdicts).map((verdict) => verdict.reason);
const holds = (value, word) => value !== null && value !== undefined && String(value).toLowerCase().includes(word);

function sampleMatches(sample, group, wanted) {
  if (wanted.reason && !reasons(sample).includes(wanted.reason)) return false;
  if (wanted.correct && standing(sample) !== wanted.correct) return false;
  if (!wanted.text || [group.prompt, group.answer, group.problem].some((v) => holds(v, wanted.text))) return true;
  const said = Object.values(sample.verdicts).flatMap((verdict) => [verdict.extracted, verdict.detail]);
  const turns = (sample.episode?.turns ?? []).flatMap((turn) => [turn.text, turn.said]);
  return [sample.response, ...said, ...turns].some((value) => holds(value, wanted.text));
}

/** Groups with at least one sample that meets everything wanted. */
function select(groups, wanted) {
  return groups.filter((group) =>
    (!wanted.source || group.source === wanted.source) &&
    (!wanted.kept || (wanted.kept === "kept") === group.kept) &&
    group.samples.some((sample) => sampleMatches(sample, group, wanted)));
}

/** Text with the word looked for marked. */
function marked(text, word) {
  const shown = visible(text);
  if (!word) return [shown];
  // Lower case can be longer than the text it is made of (İ): then nothing is marked, rather than the wrong part.
  const low = shown.toLowerCase(), parts = [];
  if (low.length !== shown.length) return [shown];
  let from = 0;
  for (let i = low.indexOf(word); i >= 0 && parts.length < 2000; i = low.indexOf(word, from)) {
    parts.push(shown.slice(from, i), el("mark", {}, shown.slice(i, i + word.length)));
    from = i + word.length;
  }
  return [...parts, shown.slice(from)];
}

const probability = (logprob) => {
  const p = Math.exp(logprob);
  return p < 0.001 ? p.toExponential(1) : p.toFixed(3);
};
/** What tokens can be coloured by: list of the sample, value at full colour, what is said of the scale and of a value. */
const HEATS = {
  "sampled logprob": { key: "logprobs", full: -5, scale: "full colour at -5 nats", says: (v) => `logprob ${v}  probability ${probability(v)}` },
  "logprob gap": { key: "gaps", full: 0.1, scale: "full colour at 0.1 nats, blue below 0", says: (v) => `trainer - engine ${v} nats` },
  entropy: { key: "entropies", full: 3, scale: "full colour at 3 nats", says: (v) => `entropy ${v} nats` },
  clipped: { key: "clipped", full: 1, scale: "coloured where the loss held them back", says: (v) => (v ? "held back by the clip" : "not clipped") },
};

/** Tokens on a ground the stronger, the nearer their value is to that of full colour; `count` of them from `from` on. */
function heat(sample, { key, full, says }, from = 0, count = sample.tokens.length) {
  return sample.tokens.slice(from, from + count).map((text, i) => {
    const value = sample[key][from + i];
    if (value === null) return el("span", {}, visible(text));
    const share = Math.max(Math.min(value / full, 1), -1);
    return el("span", {
      style: `background:rgba(${share < 0 ? "0,114,178" : "213,94,0"},${(0.75 * Math.abs(share)).toFixed(3)})`,
      title: `${visible(JSON.stringify(text))}  ${says(value)}`,
    }, visible(text));
  });
}

function verdictLine(name, verdict) {
  const parts = [`${name}: ${verdict.reason}`];
  if (verdict.score !== null && verdict.score !== undefined) parts.push(`score ${number(verdict.score)}`);
  if (verdict.extracted !== null && verdict.extracted !== undefined) parts.push(`answer ${visible(verdict.extracted)}`);
  if (verdict.detail) parts.push(visible(verdict.detail));
  if (verdict.ms !== undefined) parts.push(`${number(verdict.ms)} ms`);
  return el("div", { class: "note" }, parts.join(" · "));
}

function sampleNode(sample, index, group, wanted, heated) {
  const facts = [["reward", sample.reward], ["advantage", sample.advantage], ["score", sample.score]]
    .filter(([, value]) => value !== undefined).map(([name, value]) => `${name} ${number(value)}`);
  facts.push(`${number(sample.length)} tokens${sample.finished ? "" : ", truncated"}`);
  const state = standing(sample);
  const coloured = heated && sample.tokens && sample[heated.key];
  const text = () => el("pre", {}, coloured ? heat(sample, heated) : marked(sample.response, wanted.text));
  return el("div", { class: `sample ${state}${sampleMatches(sample, group, wanted) ? "" : " other"}` },
    el("b", {}, `${index} ${STANDINGS[state]}`), ` · ${facts.join(" · ")}`,
    Object.entries(sample.verdicts).map(([name, verdict]) => verdictLine(name, verdict)),
    answeredNode(group, sample),
    sample.course ? courseNode(sample.course) : null,
    sample.episode ? conversation(sample, wanted, coloured ? heated : null) : text());
}

function groupNode(group, wanted, heated) {
  const body = el("div");
  const where = [group.step ? `step ${group.step}` : null, group.source, group.kept === false ? "dropped" : null];
  const prompt = visible(group.prompt).replace(/\s+/g, " ").trim();
  const excerpt = prompt.length > 110 ? `${prompt.slice(0, 40)} … ${prompt.slice(-68)}` : prompt;
  const pips = group.samples.map((sample) =>
    el("span", { class: `pip ${standing(sample)}`, title: `reward ${number(sample.reward ?? sample.score)}` }));
  const node = el("details", {
    ontoggle: () => {
      if (!node.open || body.childNodes.length) return;
      fill(body, {}, [
        note(`problem ${visible(group.problem)}` + (group.policy_version === undefined ? "" :
          ` · prompt ${group.index} of the sampler · policy after ${group.policy_version} updates`)),
        el("pre", {}, marked(group.prompt, wanted.text)),
        imagesNode(group),
        el("p", {}, "gold answer: ", el("b", {}, marked(plain(group.answer), wanted.text))),
        ...group.samples.map((sample, i) => sampleNode(sample, i, group, wanted, heated)),
      ]);
    },
  }, el("summary", {}, `${where.filter(Boolean).join(" · ")} · ${excerpt} `, el("span", { class: "pips" }, pips)), body);
  return node;
}

const STANDINGS = { right: "right", wrong: "wrong", part: "partly right", none: "no verdict" };
const legend = (heated) => el("p", { class: "note" }, Object.entries(STANDINGS).map(([state, label]) =>
  [el("span", { class: `pip ${state}` }), ` ${label} \u2003`]).flat(),
  heated ? `Tokens: ${heated.scale}; more under the pointer.` : null);

const imageNote = ({ images: { shown, left } }) => !shown && !left ? "" :
  ` Of ${number(shown + left)} images that were kept with them ${number(shown)} are on this page.`;

function rolloutNote(run) {
  if (!run.steps_recorded) return note(`No training rollouts are recorded; these are the samples of its evaluations.${imageNote(run)}`);
  const steps = run.rollouts.filter((chunk) => chunk.label.startsWith("step"));
  const cut = run.rollouts.filter((chunk) => chunk.groups < chunk.recorded)
    .map((chunk) => ` Of ${chunk.label} the first ${chunk.groups} of ${chunk.recorded} groups.`);
  const some = steps.length < run.steps_recorded ? ", spread over the run; the others are in its rollouts/ folder" : "";
  return note(`${number(steps.length)} of the ${number(run.steps_recorded)} steps with recorded rollouts are on ` +
    `this page${some}.${cut.join("")}${imageNote(run)}`);
}

function rollouts(data) {
  const runs = data.runs.filter((run) => run.rollouts.length);
  const section = fill(at("rollouts"), {}, [heading("Rollouts")]);
  if (!runs.length) return section.append(note("No rollouts are recorded in what is on this page."));
  const list = el("div"), count = el("p", { class: "note" }), about = el("div"), key = el("div"), more = el("button", {}, "show more");
  const wanted = {}, bar = el("div", { class: "bar" });
  let found = [], shown = 0, turn = 0;
  const run = choice("run", runs.map((each, i) => [i, each.name]), () => restart());
  const step = choice("step", [], () => search());
  const any = (name, options) => choice(name, [["", "any"], ...options], () => search());
  const source = any("source", []), reason = any("reason", []);
  const correct = any("verdict", Object.entries(STANDINGS));
  const kept = any("filter", [["kept", "kept"], ["dropped", "dropped"]]);
  const text = el("input", { type: "search", size: 30, placeholder: "text in prompt, response, verdict", oninput: () => later() });
  const heated = choice("tokens by", [["", "-"], ...Object.keys(HEATS).map((name) => [name, name])], () => search());
  let timer = 0;
  const later = () => { clearTimeout(timer); timer = setTimeout(search, 200); };

  function options(select, values) {
    const before = select.value;
    select.replaceChildren(el("option", { value: "" }, "any"), ...values.map((v) => el("option", { value: v }, visible(v))));
    select.value = values.includes(before) ? before : "";
  }
  function next() {
    const until = Math.min(shown + PAGE, found.length);
    fill(list, {}, found.slice(shown, until).map((group) => groupNode(group, { ...wanted }, HEATS[heated.select.value])));
    shown = until;
    more.hidden = shown >= found.length;
  }
  async function search() {
    const mine = ++turn;  // a slower search that began earlier must not overwrite a later one
    const chunks = runs[run.select.value].rollouts;
    const chosen = step.select.value === "all" ? chunks : chunks.filter((chunk) => chunk.id === step.select.value);
    const groups = [];
    for (const chunk of chosen) {
      count.textContent = `reading ${chunk.label}`;
      groups.push(...await load(chunk));
      if (mine !== turn) return;
    }
    options(source.select, [...new Set(groups.map((group) => group.source))].sort());
    options(reason.select, [...new Set(groups.flatMap((group) => group.samples.flatMap(reasons)))].sort());
    const has = (key) => groups.some((group) => group.samples.some((sample) => sample[key]));
    heated.node.hidden = !has("tokens");
    for (const option of heated.select.children) option.hidden = option.value in HEATS && !has(HEATS[option.value].key);
    Object.assign(wanted, { source: source.select.value, reason: reason.select.value, kept: kept.select.value,
      correct: correct.select.value, text: text.value.toLowerCase() });
    found = select(groups, wanted);
    const matching = found.reduce((sum, group) =>
      sum + group.samples.filter((sample) => sampleMatches(sample, group, wanted)).length, 0);
    count.textContent = `${number(found.length)} of ${number(groups.length)} groups, ${number(matching)} matching samples`;
    key.replaceChildren(legend(HEATS[heated.select.value]));
    list.replaceChildren();
    shown = 0;
    next();
  }
  function restart() {
    const chunks = runs[run.select.value].rollouts;
    const newest = chunks.filter((chunk) => chunk.label.startsWith("step")).at(-1) || chunks[0];
    step.select.replaceChildren(...chunks.map((chunk) => el("option", { value: chunk.id }, chunk.label)),
      el("option", { value: "all" }, "all of these"));
    step.select.value = newest.id;
    about.replaceChildren(rolloutNote(runs[run.select.value]));
    return search();
  }
  more.addEventListener("click", next);
  fill(bar, {}, [runs.length > 1 ? run.node : null, step.node, source.node, reason.node, correct.node, kept.node, text, heated.node]);
  fill(section, {}, [about, bar, count, key, list, more]);
  run.select.value = 0;
  return restart();
}
