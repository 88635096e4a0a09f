// Boxes over a picture, each with its tag.

const DASH = 7; // pixels of each color where boxes lie on one another

/**
 * Draws boxes with a dark rim. Boxes that lie on one another share their line: its dashes take turns in their colors.
 * @param {HTMLCanvasElement} canvas
 * @param {{boxes: Box[], color: string, tag: string}[]} marks
 * @param {Look} look
 * @param {number} ratio device pixels per pixel
 */
function drawBoxes(canvas, marks, look, ratio) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const axes = new Axes(look);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const [width, height] = [canvas.width / ratio, canvas.height / ratio];
  /** @type {{left: number, top: number, right: number}[]} */
  const tags = [];
  for (const { box, owners } of sharedBoxes(marks)) {
    const left = axes.x(box.start_s) * width;
    const right = axes.x(box.end_s) * width;
    const top = (1 - axes.y(box.high_hz)) * height;
    const bottom = (1 - axes.y(Math.max(box.low_hz, axes.low_hz))) * height;
    if (right < 0 || left > width || bottom < 0 || top > height) continue;
    outline(context, left, top, Math.max(right - left, 3), Math.max(bottom - top, 3), owners);
    for (const mark of owners) if (mark.tag) tagBox(context, Math.max(left, 0), Math.max(top, 0), mark, width, tags);
  }
}

/**
 * Returns each place once, with all that have a box there.
 * @param {{boxes: Box[], color: string, tag: string}[]} marks
 */
function sharedBoxes(marks) {
  /** @type {Map<string, {box: Box, owners: {color: string, tag: string}[]}>} */
  const found = new Map();
  for (const mark of marks) {
    for (const box of mark.boxes) {
      const key = [box.start_s, box.end_s, box.low_hz, box.high_hz].map((v) => v.toFixed(3)).join();
      const known = found.get(key);
      if (known) known.owners.push(mark);
      else found.set(key, { box, owners: [mark] });
    }
  }
  return found.values();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} left
 * @param {number} top
 * @param {number} width
 * @param {number} height
 * @param {{color: string}[]} owners
 */
function outline(context, left, top, width, height, owners) {
  context.setLineDash([]);
  context.lineWidth = 4;
  context.strokeStyle = "rgba(0, 0, 0, .7)";
  context.strokeRect(left + 1, top + 1, width - 2, height - 2);
  context.lineWidth = 2;
  owners.forEach(({ color }, i) => {
    if (owners.length > 1) context.setLineDash([DASH, DASH * (owners.length - 1)]);
    context.lineDashOffset = -DASH * i;
    context.strokeStyle = color;
    context.strokeRect(left + 1, top + 1, width - 2, height - 2);
  });
  context.setLineDash([]);
  context.lineDashOffset = 0;
}

/**
 * Writes a box's tag into its corner, inside the picture and beside the tags that are there.
 * @param {CanvasRenderingContext2D} context
 * @param {number} left
 * @param {number} top
 * @param {{color: string, tag: string}} mark
 * @param {number} right the end of the picture
 * @param {{left: number, top: number, right: number}[]} tags
 */
function tagBox(context, left, top, mark, right, tags) {
  context.font = "600 11px system-ui, sans-serif";
  const width = context.measureText(mark.tag).width + 8;
  left = Math.max(0, Math.min(left, right - width));
  for (const tag of tags) {
    if (Math.abs(tag.top - top) < 15 && left < tag.right + 2 && left + width > tag.left) left = tag.right + 2;
  }
  tags.push({ left, top, right: left + width });
  context.fillStyle = mark.color;
  context.fillRect(left, top, width, 15);
  context.strokeStyle = "rgba(0, 0, 0, .7)";
  context.lineWidth = 1;
  context.strokeRect(left + 0.5, top + 0.5, width - 1, 14);
  context.fillStyle = "#000";
  context.textBaseline = "middle";
  context.fillText(mark.tag, left + 4, top + 8);
}
