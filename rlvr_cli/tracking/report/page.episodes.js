// An episode as a conversation: what the policy wrote, turn by turn, and what its environment said to it.

const ENDS = { done: "by its environment", turns: "at its last turn", tokens: "at the limit of tokens",
  failed: "as its environment failed" };
const FOLDED = 240;
/** Calls of tools within a turn, in the forms that have a beginning and an end. */
const CALLS = /<(tool_call|function_calls?|tool_calls)>[\s\S]*?<\/\1>/g;

const brief = (text, most = 90) => {
  const line = visible(text).replace(/\s+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most)} …` : line;
};
const folded = (label, text, word) =>
  el("details", { class: "call", open: word !== "" && holds(text, word) ? true : null },
    el("summary", {}, `${label} ${brief(text)}`), el("pre", {}, marked(text, word)));

/** Text of a turn with its tool calls folded. */
function withCalls(text, word) {
  const parts = [];
  let from = 0;
  for (const call of text.matchAll(CALLS)) {
    if (text.slice(from, call.index).trim()) parts.push(el("pre", {}, marked(text.slice(from, call.index), word)));
    parts.push(folded("tool call", call[0].replace(/<\/?\w+>/g, ""), word));
    from = call.index + call[0].length;
  }
  if (!parts.length || text.slice(from).trim()) parts.push(el("pre", {}, marked(text.slice(from), word)));
  return parts;
}

function turnNode(turn, number_, sample, from, wanted, heated) {
  const facts = [`turn ${number_}`, `${number(turn.tokens)} tokens`];
  if (turn.reward !== null && turn.reward !== undefined) facts.push(`reward ${number(turn.reward)}`);
  if (turn.seconds >= 0.1) facts.push(`environment ${number(turn.seconds)} s`);
  for (const [name, text] of Object.entries(turn.notes ?? {})) facts.push(`${name}: ${brief(text, 300)}`);
  const word = wanted.text ?? "";
  const said = !turn.said ? [] : turn.said.length > FOLDED ? [folded("environment:", turn.said, word)]
    : [el("div", { class: "who" }, "environment"), el("pre", {}, marked(turn.said, word))];
  return [
    el("div", { class: "turn" }, el("div", { class: "who" }, facts.join(" · ")),
      heated ? el("pre", {}, heat(sample, heated, from, turn.tokens)) : withCalls(turn.text, word)),
    said.length ? el("div", { class: "turn world" }, said) : null,
  ];
}

/** All turns; `heated`: how their tokens are coloured, null: not at all. */
function conversation(sample, wanted, heated) {
  const { environment, ended, turns, environment_reward: reward, failure, measures } = sample.episode;
  const facts = [`environment ${visible(environment)}`, `${turns.length} turns`, `ended ${ENDS[ended] ?? ended}`];
  if (reward !== undefined) facts.push(`it gave ${number(reward)}`);
  for (const [name, value] of Object.entries(measures ?? {})) if (value) facts.push(`${name} ${number(value)}`);
  let from = 0;
  const nodes = turns.map((turn, i) => {
    const node = turnNode(turn, i + 1, sample, from, wanted, heated);
    from += turn.tokens;
    return node;
  });
  return el("div", { class: "conversation" }, note(facts.join(" · ")),
    failure ? el("div", { class: "note" }, visible(failure.join(": "))) : null, nodes.flat());
}
