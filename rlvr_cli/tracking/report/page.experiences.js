// The history of a library of experiences: which operation, when, from which problems, accuracy per step.

const NAMED = 5;

/** Names of problems, the first of many. */
const someOf = (problems) => problems.slice(0, NAMED).map(visible).join(", ") +
  (problems.length > NAMED ? ` and ${number(problems.length - NAMED)} more` : "");

function experiences(data) {
  const learned = data.runs.map((run, index) => ({ run, index })).filter(({ run }) => run.library);
  if (!learned.length) return;
  const section = fill(at("experiences"), {}, [heading("Experiences")]);
  for (const { run, index } of learned) {
    const { experiences: texts, history } = run.library;
    const steps = history.map((step) => [number(step.step), step.correct === null ? "-" : percent(step.correct),
      `${number(step.kept.length)} of ${number(step.problems.length)}`, number(step.proposed),
      number(step.operations.length), number(Object.keys(step.experiences).length)]);
    const edits = history.flatMap((step) => [
      ...(step.unchanged ? [{ kind: "warning", cells: [number(step.step), "none", "", visible(step.unchanged), ""] }] : []),
      ...step.operations.filter((each) => each.id !== null || each.operation === "delete").map((each) =>
        [number(step.step), each.operation, [...each.ids, ...(each.id === null ? [] : [`→ ${each.id}`])].join(" "),
          visible(each.text), someOf(each.problems)])]);
    fill(section, {}, [el("p", {}, namedRun(index, run.name)),
      table(["step", "correct", "compared", "proposed", "operations", "size"], steps, 0),
      edits.length ? table(["step", "operation", "ids", "text", "problems"], edits, 99) : note("No operation was applied."),
      texts.length ? table(["id", "experience", "changed in step", "problems"],
        texts.map((each) => [each.id, visible(each.text), number(each.step), someOf(each.problems)]), 99)
        : note("The library is empty.")]);
  }
}
