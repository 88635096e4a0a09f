// The gallery: what a channel stands for, each training clip after the place in this clip that resembles it.

/**
 * A training clip of a channel; `sound` is its name among `sounds`, or nothing where it is not at hand.
 * @typedef {{sound: string | null, boxes: Box[], duration_s: number}} GalleryPrototype
 */

/** @typedef {{overlay: string, prototypes: GalleryPrototype[]}} GalleryChannel */

const GAP_S = 0.18; // between query and prototype
const LOUD = 0.5; // the peak to which quiet excerpts are raised
const MOST_BOOST_DB = 30;

/** Plays regions of the clip and of training clips; there is one on a page. */
class Gallery {
  /**
   * @param {Viewer} viewer
   * @param {Record<string, PackedSound>} packed training clips by name
   */
  constructor(viewer, packed) {
    this.viewer = viewer;
    this.packed = packed;
    /** @type {Map<string, Promise<Sound>>} */
    this.sounds = new Map();
    /** @type {AudioBufferSourceNode[]} */
    this.nodes = [];
    this.turn = 0;
  }

  /** Takes up the buttons and the pictures of a page. */
  mount() {
    this.viewer.player.before = () => this.stop();
    for (const element of document.querySelectorAll("[data-gallery]")) {
      const { gallery } = /** @type {HTMLElement} */ (element).dataset;
      const button = document.querySelector(`button[data-gallery="${gallery}"]`); // a picture stands for its button
      const [what, channel, prototype] = String(gallery).split(":");
      element.addEventListener("click", () =>
        this.play(/** @type {HTMLElement} */ (button), what, Number(channel), Number(prototype)));
    }
    document.addEventListener("keydown", ({ key }) => key === "Escape" && this.stop());
    for (const button of document.querySelectorAll("button[data-box]")) {
      const [overlay, box] = String(/** @type {HTMLElement} */ (button).dataset.box).split(":");
      button.addEventListener("click", () => this.playBox(overlay, Number(box)));
    }
    for (const canvas of document.querySelectorAll("canvas[data-overlay]")) {
      const draw = () => this.thumbnail(/** @type {HTMLCanvasElement} */ (canvas));
      new ResizeObserver(draw).observe(canvas);
    }
  }

  /**
   * @param {string} overlay
   * @param {number} box
   */
  async playBox(overlay, box) {
    const found = this.viewer.data.overlays.find(({ id }) => id === overlay);
    if (!found) return;
    this.viewer.choose(found.boxes[box]);
    await this.viewer.player.playBox("box");
  }

  /**
   * Draws the clip with one overlay: its heat over gray, and its boxes.
   * @param {HTMLCanvasElement} canvas
   */
  thumbnail(canvas) {
    const { data, spectrogram, heats, look } = this.viewer;
    const overlay = data.overlays.find(({ id }) => id === canvas.dataset.overlay);
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!overlay || !spectrogram || !width || (canvas.width === width && canvas.height === height)) return;
    canvas.width = width;
    canvas.height = height;
    const heat = heats.get(overlay.id);
    /** @type {Look} */
    const plain = {
      ...look, start_s: 0, end_s: data.clip.duration_s, low_hz: 0, high_hz: data.top_hz, scale: "mel", range_db: 80,
      gain_db: 0, fade: 1, colors: bytesOf(data.colors.gray),
    };
    drawPixels(canvas, spectrogram, heat ? [{ heat, color: overlay.color }] : [], plain, data.clip.duration_s);
    drawBoxes(canvas, [{ ...overlay, tag: "" }], plain, ratio);
  }

  /**
   * @param {string} name
   * @returns {Promise<Sound>}
   */
  sound(name) {
    let sound = this.sounds.get(name);
    if (!sound) this.sounds.set(name, (sound = decoded(this.packed[name])));
    return sound;
  }

  /**
   * Returns the sounds that a button plays, one after the other: `query`, `region`, `whole`, or `compare`, which is
   * query and region.
   * @param {string} what
   * @param {number} channel
   * @param {number} prototype
   * @returns {Promise<Sound[]>}
   */
  async parts(what, channel, prototype) {
    const { data, player } = this.viewer;
    const { overlay, prototypes } = data.gallery[channel];
    const { clip } = data;
    const boxes = data.overlays.find(({ id }) => id === overlay)?.boxes ?? [];
    const parts = [];
    if (what === "query" || what === "compare") {
      const sound = keptInBoxes(await player.sound("original"), boxes, clip.duration_s, clip.window_s);
      parts.push(excerptOf(sound, boxes));
    }
    const shown = prototypes[prototype];
    if (shown?.sound && (what === "region" || what === "compare")) {
      const sound = keptInBoxes(await this.sound(shown.sound), shown.boxes, shown.duration_s, clip.window_s);
      parts.push(excerptOf(sound, shown.boxes));
    }
    if (shown?.sound && what === "whole") parts.push(await this.sound(shown.sound));
    return parts;
  }

  /**
   * Plays what a button stands for; pressed again while it plays, it stops.
   * @param {HTMLElement} button
   * @param {string} what
   * @param {number} channel
   * @param {number} prototype
   */
  async play(button, what, channel, prototype) {
    const again = button.getAttribute("aria-pressed") === "true";
    this.stop();
    if (again) return;
    this.viewer.player.pause();
    const turn = ++this.turn;
    button.setAttribute("aria-pressed", "true");
    const context = (this.viewer.player.context ??= new AudioContext());
    const ready = Promise.all([this.parts(what, channel, prototype), context.resume()]);
    const parts = await ready.then(([sounds]) => sounds, () => null);
    if (turn !== this.turn) return;
    if (parts) return this.say(button, playedText(this.start(context, parts, turn)));
    this.stop();
    this.say(button, "This browser could not decode the sound.");
  }

  /**
   * Starts sounds one after the other, quiet ones made louder; returns by how many decibels each.
   * @param {AudioContext} context
   * @param {Sound[]} parts
   * @param {number} turn
   */
  start(context, parts, turn) {
    this.viewer.player.output ??= this.viewer.player.outputOf(context);
    let at = context.currentTime + 0.03;
    /** @type {number[]} */
    const boosts = [];
    for (const part of parts) {
      const { peak } = loudness(part, part.start_s, part.start_s + part.channels[0].length / part.rate);
      const boost = peak > 1e-7 ? Math.min(Math.max(LOUD / peak, 1), 10 ** (MOST_BOOST_DB / 20)) : 1;
      const node = context.createBufferSource();
      const gain = context.createGain();
      node.buffer = bufferOf(context, part);
      gain.gain.value = boost;
      node.connect(gain).connect(this.viewer.player.output);
      node.start(at);
      at += node.buffer.duration + GAP_S;
      boosts.push(20 * Math.log10(boost));
      this.nodes.push(node);
    }
    const last = this.nodes[this.nodes.length - 1];
    if (last) last.onended = () => turn === this.turn && this.stop();
    else this.stop();
    return boosts;
  }

  stop() {
    this.turn++;
    for (const node of this.nodes) {
      node.onended = null;
      node.stop();
      node.disconnect();
    }
    this.nodes = [];
    for (const button of document.querySelectorAll("button[data-gallery]")) {
      button.setAttribute("aria-pressed", "false");
    }
  }

  /**
   * Says something beside a button.
   * @param {HTMLElement} button
   * @param {string} text
   */
  say(button, text) {
    const said = button.closest("article")?.querySelector("[data-said]");
    if (said) said.textContent = text;
  }
}

/**
 * Returns what is said of sounds that are played.
 * @param {number[]} boosts by how many decibels each was made louder
 */
function playedText(boosts) {
  if (!boosts.length) return "This sound is not on the page.";
  const what = boosts.length > 1 ? "This clip's region, then the training clip's" : "A sound of this channel";
  const louder = boosts.map((db) => `${db.toFixed(0)} dB`).join(" and ");
  return `${what}${boosts.some((db) => db > 0.5) ? `, made louder by ${louder}` : ""}.`;
}

/**
 * Opens the viewer of a page: its data lie in the element `earmark-data`, its place is the element `earmark-viewer`,
 * where it says so if the browser is too old for it.
 * @returns {Promise<{viewer: Viewer, gallery: Gallery}>}
 */
async function openPage() {
  const data = JSON.parse(document.getElementById("earmark-data")?.textContent ?? "{}");
  const root = /** @type {HTMLElement} */ (document.getElementById("earmark-viewer"));
  const viewer = new Viewer(root, data);
  viewer.rows.push(...hearButtons(viewer));
  try {
    await viewer.open();
  } catch (error) {
    root.replaceChildren(`This browser cannot show the picture and the sounds (${error}); a newer one can.`);
    throw error;
  }
  const gallery = new Gallery(viewer, data.training_sounds);
  gallery.mount();
  root.dataset.ready = String(Math.round(performance.now()));
  return { viewer, gallery };
}
