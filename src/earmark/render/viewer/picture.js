// Pictures: a spectrogram on true axes, heat and boxes over it.

/**
 * Values on a grid, as they lie in the page: base64 of bytes that zlib compressed, the lowest row first.
 * A spectrogram's rows lie `hz_step` apart from 0 Hz and its columns `step_s` apart from 0 s; a byte is half a decibel,
 * 255 the clip's maximum. Heat has rows evenly spaced in mels from 0 Hz to `top_hz`, columns that divide the clip
 * evenly, and bytes from 0 to 255, which mean 0 to 1, or -1 to 1 if it is signed.
 * @typedef {{rows: number, columns: number, data: string, hz_step?: number, step_s?: number, top_hz?: number,
 *   signed?: boolean}} PackedGrid
 */

/** @typedef {PackedGrid & {values: Uint8Array}} Values */

/**
 * What can be switched on over the spectrogram: a channel's or a method's boxes and heat.
 * @typedef {{id: string, name: string, tag: string, note: string, color: string, boxes: Box[],
 *   heat: PackedGrid | null}} Overlay
 */

/** @typedef {"linear" | "mel" | "log"} ScaleName */

/**
 * How a picture is drawn: the part of time and frequency, the frequency scale, decibels shown below the top, a gain in
 * decibels, a color map, and the strength of heat in [0, 1].
 * @typedef {{start_s: number, end_s: number, low_hz: number, high_hz: number, scale: ScaleName, range_db: number,
 *   gain_db: number, colors: Uint8Array, fade: number}} Look
 */

const AGAINST = "#58a6ff"; // heat that speaks against the target
const DASH = 7; // pixels of each color where boxes lie on one another

/** @type {Record<ScaleName, (hz: number) => number>} */
const SCALES = {
  linear: (hz) => hz,
  mel: (hz) => 2595 * Math.log10(1 + hz / 700),
  log: (hz) => Math.log2(Math.max(hz, 1)),
};

/** @type {Record<ScaleName, (value: number) => number>} */
const UNSCALES = {
  linear: (value) => value,
  mel: (value) => 700 * (10 ** (value / 2595) - 1),
  log: (value) => 2 ** value,
};

/** Where seconds and hertz lie in a picture, as shares from the left and from the bottom. */
class Axes {
  /** @param {Pick<Look, "start_s" | "end_s" | "low_hz" | "high_hz" | "scale">} look */
  constructor(look) {
    this.start_s = look.start_s;
    this.end_s = look.end_s;
    this.scale = look.scale;
    this.low_hz = look.scale === "log" ? Math.max(look.low_hz, look.high_hz / 400) : look.low_hz;
    this.high_hz = look.high_hz;
    this.bottom = SCALES[look.scale](this.low_hz);
    this.top = SCALES[look.scale](this.high_hz);
  }

  /** @param {number} seconds */
  x(seconds) {
    return (seconds - this.start_s) / (this.end_s - this.start_s);
  }

  /** @param {number} hz */
  y(hz) {
    return (SCALES[this.scale](hz) - this.bottom) / (this.top - this.bottom);
  }

  /** @param {number} x */
  seconds(x) {
    return this.start_s + x * (this.end_s - this.start_s);
  }

  /** @param {number} y */
  hz(y) {
    return UNSCALES[this.scale](this.bottom + y * (this.top - this.bottom));
  }

  /**
   * Returns round times, at most `most` of them.
   * @param {number} most
   */
  secondTicks(most) {
    return roundTicks(this.start_s, this.end_s, most);
  }

  /**
   * Returns round frequencies that lie at least the share `closest` of the height apart: octaves, or even steps on
   * the linear scale and in narrow bands.
   * @param {number} closest
   */
  hzTicks(closest) {
    const octaves = [0, ...Array.from({ length: 15 }, (_, i) => 31.25 * 2 ** i)];
    const even = roundTicks(this.low_hz, this.high_hz, 1 / closest);
    const inside = octaves.filter((hz) => hz >= this.low_hz && hz <= this.high_hz);
    const wanted = this.scale === "linear" || inside.length < 4 ? even : inside;
    /** @type {number[]} */
    const kept = [];
    for (const hz of wanted) {
      if (!kept.length || this.y(hz) - this.y(kept[kept.length - 1]) >= closest) kept.push(hz);
    }
    return kept;
  }
}

/**
 * @param {number} low
 * @param {number} high
 * @param {number} most
 */
function roundTicks(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((m) => m * power >= rough) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) =>
    Number(((first + i) * step).toPrecision(9)));
}

/** @param {number} hz */
function hzText(hz) {
  return hz >= 1000 ? `${Number((hz / 1000).toFixed(3))} kHz` : `${Number(hz.toFixed(1))} Hz`;
}

/**
 * For each pixel of an axis, the cells between its borders, or the place between two cells where a pixel is smaller
 * than one.
 * @param {number} n pixels
 * @param {(share: number) => number} cellAt which cell, in fractions, lies at a share of the axis
 * @returns {{first: Int32Array, last: Int32Array, between: Float64Array}} `between` is -1 where there are several
 */
function cellsOf(n, cellAt) {
  const first = new Int32Array(n);
  const last = new Int32Array(n);
  const between = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const low = cellAt(i / n);
    const high = cellAt((i + 1) / n);
    if (high - low > 1.5) {
      first[i] = Math.ceil(low);
      last[i] = Math.max(first[i], Math.ceil(high) - 1);
      between[i] = -1;
    } else {
      const middle = (low + high) / 2;
      first[i] = Math.floor(middle);
      last[i] = first[i] + 1;
      between[i] = middle - first[i];
    }
  }
  return { first, last, between };
}

/**
 * Returns a grid's values on pixels, row 0 at the top: of several cells in a pixel the one farthest from nothing, so
 * that nothing faint or thin is lost, and between cells their linear mean.
 * @param {Values} grid
 * @param {number} width
 * @param {number} height
 * @param {(share: number) => number} columnAt
 * @param {(share: number) => number} rowAt
 * @returns {Float32Array}
 */
function onPixels(grid, width, height, columnAt, rowAt) {
  const { rows, columns, values } = grid;
  const zero = grid.signed ? 127.5 : 0;
  const farther = (/** @type {number} */ a, /** @type {number} */ b) =>
    (Math.abs(b - zero) > Math.abs(a - zero) ? b : a);
  const up = cellsOf(height, rowAt);
  const along = cellsOf(width, columnAt);
  const clip = (/** @type {number} */ i, /** @type {number} */ n) => Math.min(Math.max(i, 0), n - 1);
  const out = new Float32Array(width * height);
  const line = new Float32Array(columns);
  for (let y = 0; y < height; y++) {
    const row = height - 1 - y;
    const [low, high, share] = [clip(up.first[row], rows), clip(up.last[row], rows), up.between[row]];
    for (let c = 0; c < columns; c++) {
      if (share >= 0) {
        line[c] = (1 - share) * values[low * columns + c] + share * values[high * columns + c];
      } else {
        let most = zero;
        for (let r = low; r <= high; r++) most = farther(most, values[r * columns + c]);
        line[c] = most;
      }
    }
    for (let x = 0; x < width; x++) {
      const [left, right, part] = [clip(along.first[x], columns), clip(along.last[x], columns), along.between[x]];
      let value = zero;
      if (part >= 0) value = (1 - part) * line[left] + part * line[right];
      else for (let c = left; c <= right; c++) value = farther(value, line[c]);
      out[y * width + x] = value;
    }
  }
  return out;
}

/**
 * Draws the spectrogram and the heat that is on.
 * @param {HTMLCanvasElement} canvas
 * @param {Values} spectrogram
 * @param {{heat: Values, color: string}[]} heats
 * @param {Look} look
 * @param {number} duration_s
 */
function drawPixels(canvas, spectrogram, heats, look, duration_s) {
  const { width, height } = canvas;
  const axes = new Axes(look);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(width, height);
  const step_s = spectrogram.step_s ?? 1;
  const hz_step = spectrogram.hz_step ?? 1;
  const levels = onPixels(spectrogram, width, height, (x) => axes.seconds(x) / step_s, (y) => axes.hz(y) / hz_step);
  const scale = 255 / (2 * look.range_db);
  const lift = 2 * look.range_db - 255 + 2 * look.gain_db;
  for (let i = 0; i < levels.length; i++) {
    const step = Math.min(255, Math.max(0, Math.round((levels[i] + lift) * scale)));
    image.data.set(look.colors.subarray(3 * step, 3 * step + 3), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  for (const { heat, color } of heats) blendHeat(image.data, heat, color, look, axes, duration_s, width, height);
  context.putImageData(image, 0, 0);
}

/**
 * Lays heat over pixels: the stronger the value, the more of the color.
 * @param {Uint8ClampedArray} pixels
 * @param {Values} heat
 * @param {string} color
 * @param {Look} look
 * @param {Axes} axes
 * @param {number} duration_s
 * @param {number} width
 * @param {number} height
 */
function blendHeat(pixels, heat, color, look, axes, duration_s, width, height) {
  const top = SCALES.mel(heat.top_hz ?? look.high_hz);
  const values = onPixels(heat, width, height,
    (x) => (axes.seconds(x) / duration_s) * heat.columns - 0.5,
    (y) => (SCALES.mel(axes.hz(y)) / top) * heat.rows - 0.5);
  const colors = [rgbOf(color), rgbOf(AGAINST)];
  for (let i = 0; i < values.length; i++) {
    const value = heat.signed ? (values[i] - 127.5) / 127.5 : values[i] / 255;
    const alpha = 0.85 * look.fade * Math.min(1, Math.abs(value));
    const tint = colors[value < 0 ? 1 : 0];
    for (let c = 0; c < 3; c++) pixels[4 * i + c] += alpha * (tint[c] - pixels[4 * i + c]);
  }
}

/**
 * @param {string} color as `#rrggbb`
 * @returns {number[]}
 */
function rgbOf(color) {
  return [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
}

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
    for (const mark of owners) if (mark.tag) tagBox(context, Math.max(left, 0), Math.max(top, 0), mark, tags);
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
 * Writes a box's tag into its corner, beside the tags that are there.
 * @param {CanvasRenderingContext2D} context
 * @param {number} left
 * @param {number} top
 * @param {{color: string, tag: string}} mark
 * @param {{left: number, top: number, right: number}[]} tags
 */
function tagBox(context, left, top, mark, tags) {
  context.font = "600 11px system-ui, sans-serif";
  const width = context.measureText(mark.tag).width + 8;
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
