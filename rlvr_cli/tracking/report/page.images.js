// Images of a group, with boxes over them: of the gold in dashes, of the response in a line.

const GOLD_LOOK = { stroke: COLOURS[2], "stroke-dasharray": "6 4" }, SAID_LOOK = { stroke: COLOURS[1] };

/** Boxes [x1, y1, x2, y2] and points [x, y] that a verifier has read, in shares of the image's sides; null: none has. */
function boxesOf(sample) {
  for (const verdict of Object.values(sample?.verdicts ?? {})) {
    const text = verdict.more?.boxes;
    if (typeof text !== "string") continue;
    try {
      const { gold, said, more_gold, more_said } = JSON.parse(text);
      return { gold, said, more: (more_gold ?? 0) + (more_said ?? 0) };
    } catch { /* a verifier of the user's own may say boxes and mean something else */ }
  }
  return null;
}

/** A box as a rectangle, a point as a cross. */
function shapeOf(numbers, w, h, look) {
  const [x1, y1, x2, y2] = numbers.map((v, i) => Number(v) * (i % 2 ? h : w));
  const more = { ...look, fill: "none", "stroke-width": 2.5, "vector-effect": "non-scaling-stroke" };
  if (numbers.length === 2) {
    const r = 0.03 * Math.max(w, h);
    return svg("path", { d: `M${x1 - r} ${y1}H${x1 + r}M${x1} ${y1 - r}V${y1 + r}`, ...more, "stroke-dasharray": null });
  }
  return svg("rect", { x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1), ...more });
}

function imageNode(image, boxes, width) {
  const block = image.file ? at(`image-${image.file.split(".")[0]}`) : null;
  if (!block) return null;
  const w = 1000, h = 1000 * image.seen_height / image.seen_width;
  const shapes = [...(boxes?.said ?? []).map((each) => shapeOf(each, w, h, SAID_LOOK)),
    ...(boxes?.gold ?? []).map((each) => shapeOf(each, w, h, GOLD_LOOK))];
  const small = image.seen_width < width ? " small" : "";
  return el("span", { class: "shown", style: `width:${Math.round(width * Math.min(1, w / h))}px` },
    el("img", { src: `data:${block.type};base64,${block.textContent}`, class: `seen${small}`, alt: "image of the prompt" }),
    shapes.length ? svg("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": `${shapes.length} boxes or points` }, shapes) : null);
}

/** The images of a group with the gold's boxes over the first, to which boxes belong. */
function imagesNode(group) {
  if (!group.images?.length) return null;
  const boxes = group.samples.map(boxesOf).find((each) => each !== null) ?? null;
  return el("div", { class: "images" }, group.images.map((image, i) => el("div", {},
    imageNode(image, i || !boxes ? null : { gold: boxes.gold }, 256),
    note(`${image.width} x ${image.height} pixels` +
      (image.width === image.seen_width && image.height === image.seen_height ? "" : `, seen as ${image.seen_width} x ${image.seen_height}`) +
      (image.file === null ? "; not kept with the records (tracker.images)" : at(`image-${image.file.split(".")[0]}`) ? "" : "; no room on this page (--rollouts)") +
      (!i && boxes?.gold.length ? `; ${number(boxes.gold.length)} gold box${boxes.gold.length > 1 ? "es" : ""} in dashes` : "")))));
}

/** The first image with the boxes of a response, which are drawn in a line. */
function answeredNode(group, sample) {
  const boxes = boxesOf(sample);
  if (!boxes || !group.images?.length) return null;
  const image = imageNode(group.images[0], boxes, 160);
  return image && el("div", { class: "images" }, image,
    boxes.more ? note(`${number(boxes.more)} more boxes are not drawn`) : null);
}
