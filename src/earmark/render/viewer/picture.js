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
const FINE = 16; // levels of a pixel for each step of a byte

/** @type {Record<ScaleName, (hz: number) => number>} */
const SCALES = {
  linear: (hz) => hz,
  mel: (hz) => 2595 * Math.log10(1 + hz / 700),
  log: (hz) => Math.log2(Math.max(hz, 1e-3)),
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
 * For each pixel of an axis, the cells between its borders, or the two that it lies between where it is smaller than
 * one.
 * @typedef {{first: Int32Array, last: Int32Array, between: Float64Array}} Cells `between` is -1 where a pixel holds all
 *   of `first` to `last`, else the way from the one to the other
 */

/**
 * @param {number} n pixels
 * @param {number} n_cells
 * @param {(share: number) => number} cellAt which cell, in fractions, lies at a share of the axis
 * @returns {Cells}
 */
function cellsOf(n, n_cells, cellAt) {
  const first = new Int32Array(n);
  const last = new Int32Array(n);
  const between = new Float64Array(n);
  const inside = (/** @type {number} */ cell) => Math.min(Math.max(cell, 0), n_cells - 1);
  for (let i = 0; i < n; i++) {
    const [low, high] = [cellAt(i / n), cellAt((i + 1) / n)];
    const several = high - low > 1.5;
    const from = several ? Math.ceil(low) : Math.floor((low + high) / 2);
    between[i] = several ? -1 : (low + high) / 2 - from;
    first[i] = inside(from);
    last[i] = inside(several ? Math.max(from, Math.ceil(high) - 1) : from + 1);
  }
  return { first, last, between };
}

/**
 * Returns a grid's values on pixels, row 0 at the top, `FINE` steps for each step of a byte: of several cells in a
 * pixel the one farthest from nothing, so that nothing faint or thin is lost, and between cells their linear mean.
 * @param {Values} grid
 * @param {number} width
 * @param {number} height
 * @param {(share: number) => number} columnAt
 * @param {(share: number) => number} rowAt
 * @returns {Uint16Array}
 */
function onPixels(grid, width, height, columnAt, rowAt) {
  const { rows, columns, values } = grid;
  const zero = grid.signed ? 127.5 : 0;
  const up = cellsOf(height, rows, rowAt);
  const along = cellsOf(width, columns, columnAt);
  const out = new Uint16Array(width * height);
  const line = new Float32Array(columns);
  for (let y = 0; y < height; y++) {
    const row = height - 1 - y;
    const low = up.first[row] * columns;
    const high = up.last[row] * columns;
    if (up.between[row] < 0) farthest(line, values, low, high, zero);
    else for (let c = 0; c < columns; c++) {
      line[c] = values[low + c] + up.between[row] * (values[high + c] - values[low + c]);
    }
    spread(out, y * width, line, along, zero);
  }
  return out;
}

/**
 * Puts into a line the values that lie farthest from `zero` among several rows.
 * @param {Float32Array} line
 * @param {Uint8Array} values
 * @param {number} low where the first row starts
 * @param {number} high where the last row starts
 * @param {number} zero
 */
function farthest(line, values, low, high, zero) {
  const columns = line.length;
  line.fill(zero);
  for (let start = low; start <= high; start += columns) {
    for (let c = 0; c < columns; c++) {
      const value = values[start + c];
      if (Math.abs(value - zero) > Math.abs(line[c] - zero)) line[c] = value;
    }
  }
}

/**
 * Spreads a line over the pixels of a row, which starts at `start`.
 * @param {Uint16Array} out
 * @param {number} start
 * @param {Float32Array} line
 * @param {Cells} along
 * @param {number} zero
 */
function spread(out, start, line, { first, last, between }, zero) {
  for (let x = 0; x < first.length; x++) {
    let value = line[first[x]];
    if (between[x] >= 0) value += between[x] * (line[last[x]] - value);
    else for (let c = first[x] + 1; c <= last[x]; c++) {
      if (Math.abs(line[c] - zero) > Math.abs(value - zero)) value = line[c];
    }
    out[start + x] = FINE * value + 0.5;
  }
}

/** @type {WeakMap<Values, {key: string, pixels: Uint16Array}>} */
const LAST_PIXELS = new WeakMap();

/**
 * Returns `onPixels`; the last result of each grid is kept while only its look changes.
 * @param {Values} grid
 * @param {HTMLCanvasElement} canvas
 * @param {Axes} axes
 * @param {(share: number) => number} columnAt
 * @param {(share: number) => number} rowAt
 */
function keptOnPixels(grid, { width, height }, axes, columnAt, rowAt) {
  const key = [width, height, axes.start_s, axes.end_s, axes.low_hz, axes.high_hz, axes.scale].join();
  const known = LAST_PIXELS.get(grid);
  if (known?.key === key) return known.pixels;
  const pixels = onPixels(grid, width, height, columnAt, rowAt);
  LAST_PIXELS.set(grid, { key, pixels });
  return pixels;
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
  const axes = new Axes(look);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(canvas.width, canvas.height);
  const { step_s = 1, hz_step = 1 } = spectrogram;
  const levels = keptOnPixels(spectrogram, canvas, axes,
    (x) => axes.seconds(x) / step_s, (y) => axes.hz(y) / hz_step);
  const colors = colorsOf(look);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < levels.length; i++) pixels[i] = colors[levels[i]];
  for (const { heat, color } of heats) {
    const top = SCALES.mel(heat.top_hz ?? look.high_hz);
    const values = keptOnPixels(heat, canvas, axes,
      (x) => (axes.seconds(x) / duration_s) * heat.columns - 0.5,
      (y) => (SCALES.mel(axes.hz(y)) / top) * heat.rows - 0.5);
    blendHeat(image.data, values, tintsOf(Boolean(heat.signed), color, look.fade));
  }
  context.putImageData(image, 0, 0);
}

/**
 * Returns the color of each level as the bytes of a pixel: the range below the top, lifted by the gain.
 * @param {Look} look
 * @returns {Uint32Array}
 */
function colorsOf({ colors, range_db, gain_db }) {
  const bytes = new Uint8ClampedArray(4 * (255 * FINE + 1));
  for (let i = 0; i <= 255 * FINE; i++) {
    const share = (i / FINE + 2 * (range_db + gain_db) - 255) / (2 * range_db);
    const step = Math.round(255 * Math.min(1, Math.max(0, share)));
    for (let c = 0; c < 3; c++) bytes[4 * i + c] = colors[3 * step + c];
    bytes[4 * i + 3] = 255;
  }
  return new Uint32Array(bytes.buffer);
}

/**
 * Returns how a value of heat changes a pixel: `kept` of what is there, plus `added` red, green and blue.
 * @param {boolean} signed
 * @param {string} color
 * @param {number} fade
 * @returns {{kept: Float32Array, added: Float32Array}}
 */
function tintsOf(signed, color, fade) {
  const kept = new Float32Array(255 * FINE + 1);
  const added = new Float32Array(3 * kept.length);
  const tints = [rgbOf(color), rgbOf(AGAINST)];
  for (let i = 0; i < kept.length; i++) {
    const value = signed ? i / FINE / 127.5 - 1 : i / FINE / 255;
    const alpha = 0.85 * fade * Math.abs(value);
    kept[i] = 1 - alpha;
    for (let c = 0; c < 3; c++) added[3 * i + c] = alpha * tints[value < 0 ? 1 : 0][c];
  }
  return { kept, added };
}

/**
 * Lays heat over pixels: the stronger the value, the more of the color.
 * @param {Uint8ClampedArray} pixels
 * @param {Uint16Array} values
 * @param {{kept: Float32Array, added: Float32Array}} tints
 */
function blendHeat(pixels, values, { kept, added }) {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    const share = kept[value];
    if (share === 1) continue;
    pixels[4 * i] = pixels[4 * i] * share + added[3 * value];
    pixels[4 * i + 1] = pixels[4 * i + 1] * share + added[3 * value + 1];
    pixels[4 * i + 2] = pixels[4 * i + 2] * share + added[3 * value + 2];
  }
}

/**
 * @param {string} color as `#rrggbb`
 * @returns {number[]}
 */
function rgbOf(color) {
  return [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
}
