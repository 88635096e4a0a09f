// The viewer: what of a clip is seen and chosen; the player says what is heard.

/**
 * All that the viewer of one clip needs; `render/viewer.py` of the library makes it.
 * @typedef {{name: string, clip: ClipSounds, top_hz: number, heard_hz: number, spectrogram: PackedGrid,
 *   overlays: Overlay[], show_heat: boolean, colors: Record<string, string>, gallery: GalleryChannel[]}} ViewerData
 */

/** Shows one clip and plays it. */
class Viewer {
  /**
   * @param {HTMLElement} root an empty element
   * @param {ViewerData} data
   */
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.player = new Player(data.clip, () => this.heard());
    /** @type {Look} */
    this.look = {
      start_s: 0, end_s: data.clip.duration_s, low_hz: 0, high_hz: data.top_hz,
      scale: "mel", range_db: 80, gain_db: 0, colors: bytesOf(data.colors.magma), fade: 0.7,
    };
    this.gray = bytesOf(data.colors.gray); // under heat, unless colors were chosen
    this.colorsChosen = false;
    this.on = new Set(data.overlays.map((overlay) => overlay.id));
    this.showBoxes = true;
    this.showHeat = data.show_heat;
    /** @type {Box | null} */
    this.box = null;
    /** @type {Box | null} the box that is being dragged */
    this.draft = null;
    /** @type {PointerEvent | null} where the pointer went down */
    this.down = null;
    this.nextBox = 0;
    /** @type {Values | null} */
    this.spectrogram = null;
    /** @type {Map<string, Values>} */
    this.heats = new Map();
    this.frame = 0; // the next frame in which the playhead moves along, while it plays
    this.pixels = h("canvas", { class: "em-pixels", "aria-hidden": "true" });
    this.marks = h("canvas", { class: "em-marks", "aria-hidden": "true" });
    this.playhead = h("div", { class: "em-playhead" });
    this.chosen = h("div", { class: "em-chosen", hidden: true });
    this.unheard = h("div", { class: "em-unheard", hidden: true }, h("span", {}, "not heard by the classifier"));
    this.reading = h("div", { class: "em-reading", "aria-hidden": "true", hidden: true });
    this.plot = h("div", { class: "em-plot", role: "img", "aria-label": this.described() },
      this.pixels, this.marks, this.unheard, this.chosen, this.playhead, this.reading);
    this.xTicks = h("div", { class: "em-x", "aria-hidden": "true" });
    this.yTicks = h("div", { class: "em-y", "aria-hidden": "true" });
    this.timeText = h("span", { class: "em-time" });
    this.status = h("p", { class: "em-status", role: "status" });
    this.seekRow = seekRow(this);
    this.boxRow = boxRow(this);
    this.rows = [transportRow(this), this.seekRow, this.boxRow, overlayRow(this), lookRow(this)];
    this.build();
  }

  build() {
    const [transport, ...rows] = this.rows.map(({ element }) => element);
    this.root.classList.add("em-viewer");
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", `Viewer of ${this.data.name}`);
    this.root.append(transport, h("div", { class: "em-frame" }, this.yTicks, this.plot, this.xTicks), ...rows,
      this.status, help());
    listenToPointer(this);
    listenToKeys(this);
  }

  described() {
    const { clip, top_hz, overlays } = this.data;
    const n = overlays.reduce((sum, overlay) => sum + overlay.boxes.length, 0);
    return `Spectrogram of ${this.data.name}, ${clip.duration_s.toFixed(2)} s, up to ${hzText(top_hz)}, with ` +
      `${n} ${n === 1 ? "box" : "boxes"}; the table of regions lists them.`;
  }

  /** Unpacks the pictures and draws; afterwards the viewer is ready. */
  async open() {
    const { spectrogram, overlays } = this.data;
    this.spectrogram = { ...spectrogram, values: await inflated(spectrogram.data) };
    for (const { id, heat } of overlays) {
      if (heat) this.heats.set(id, { ...heat, values: await inflated(heat.data) });
    }
    this.draw();
    this.heard();
    new ResizeObserver(() => this.resized()).observe(this.plot);
    return this;
  }

  // -- what is seen -----------------------------------------------------------------------------------------------

  get axes() {
    return new Axes(this.look);
  }

  /** @param {Partial<Look>} changes */
  setLook(changes) {
    Object.assign(this.look, changes);
    this.draw();
  }

  /** @param {string} name */
  setColors(name) {
    this.colorsChosen = true;
    this.setLook({ colors: bytesOf(this.data.colors[name]) });
  }

  /** @param {"showBoxes" | "showHeat"} name */
  setShow(name) {
    this[name] = !this[name];
    this.draw();
  }

  /**
   * @param {string} id
   * @param {boolean} [alone] shows this one only, or again all of them
   */
  switchOverlay(id, alone = false) {
    const ids = this.data.overlays.map((overlay) => overlay.id);
    if (alone) this.on = this.on.size === 1 && this.on.has(id) ? new Set(ids) : new Set([id]);
    else if (!this.on.delete(id)) this.on.add(id);
    this.draw();
  }

  /** The heat that is on, with its color. */
  heatsOn() {
    if (!this.showHeat) return [];
    return this.data.overlays.flatMap(({ id, color }) => {
      const heat = this.heats.get(id);
      return heat && this.on.has(id) ? [{ heat, color }] : [];
    });
  }

  /** How many pixels of the device the picture has in a row and in a column, and how many of them make a pixel. */
  get size() {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const { clientWidth, clientHeight } = this.plot;
    return { width: Math.round(clientWidth * ratio), height: Math.round(clientHeight * ratio), ratio };
  }

  resized() {
    const { width, height } = this.size;
    if (this.pixels.width !== width || this.pixels.height !== height) this.draw();
  }

  draw() {
    const { width, height, ratio } = this.size;
    if (!this.spectrogram || !width || !height) return;
    for (const canvas of [this.pixels, this.marks]) Object.assign(canvas, { width, height });
    const heats = this.heatsOn();
    const look = heats.length && !this.colorsChosen ? { ...this.look, colors: this.gray } : this.look;
    drawPixels(this.pixels, this.spectrogram, heats, look, this.data.clip.duration_s);
    const shown = this.data.overlays.filter(({ id }) => this.showBoxes && this.on.has(id));
    drawBoxes(this.marks, shown, this.look, ratio);
    this.placeTicks(width / ratio, height / ratio);
    this.placeMarks();
    this.placePlayhead();
    this.refresh();
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  placeTicks(width, height) {
    const axes = this.axes;
    this.xTicks.replaceChildren(...axes.secondTicks(width / 75).map((seconds) =>
      h("span", { style: `left:${100 * axes.x(seconds)}%` }, `${Number(seconds.toFixed(4))} s`)));
    this.yTicks.replaceChildren(...axes.hzTicks(26 / height).map((hz) =>
      h("span", { style: `bottom:${100 * axes.y(hz)}%` }, hzText(hz))));
  }

  /** Puts the chosen box and what is not heard where they belong. */
  placeMarks() {
    const { axes, data } = this;
    const inside = (/** @type {number} */ share) => 100 * Math.min(1, Math.max(0, share));
    this.unheard.hidden = data.heard_hz >= Math.min(data.top_hz, axes.high_hz) - 1;
    this.unheard.style.height = `${100 - inside(axes.y(data.heard_hz))}%`;
    const box = this.draft ?? this.box;
    this.chosen.hidden = !box;
    if (!box) return;
    const [left, right] = [axes.x(box.start_s), axes.x(box.end_s)].map(inside);
    const [low, high] = [axes.y(Math.max(box.low_hz, axes.low_hz)), axes.y(box.high_hz)].map(inside);
    this.chosen.style.cssText = `left:${left}%;width:${right - left}%;bottom:${low}%;height:${high - low}%`;
  }

  placePlayhead() {
    const x = this.axes.x(this.player.position);
    this.playhead.style.cssText = x < 0 || x > 1 ? "display:none" : `left:${100 * x}%`;
  }

  /**
   * Returns where an event happened.
   * @param {MouseEvent} event
   */
  placeOf(event) {
    return placeIn(this.plot.getBoundingClientRect(), this.axes, event);
  }

  /**
   * Shows the box between two places before it is chosen.
   * @param {Place} from
   * @param {Place} to
   */
  drag(from, to) {
    this.draft = this.inside({ start_s: from.seconds, end_s: to.seconds, low_hz: from.hz, high_hz: to.hz });
    this.placeMarks();
  }

  /** Forgets what is being dragged. */
  drop() {
    this.down = null;
    this.draft = null;
    this.placeMarks();
  }

  // -- the box ----------------------------------------------------------------------------------------------------

  /** All boxes of what is on, in the order in which `Next box` goes through them. */
  boxes() {
    return this.data.overlays.filter(({ id }) => this.on.has(id)).flatMap(({ boxes }) => boxes);
  }

  /**
   * Chooses a box, or none.
   * @param {Box | null} box
   */
  choose(box) {
    this.box = box && this.inside(box);
    this.boxRow.fill();
    this.placeMarks();
    return this.player.setBox(this.box);
  }

  /**
   * Returns a box with its borders in order and within the clip; none is thinner than 5 ms or 1 Hz.
   * @param {Box} box
   * @returns {Box}
   */
  inside(box) {
    const { clip: { duration_s }, top_hz } = this.data;
    const ordered = (/** @type {number} */ a, /** @type {number} */ b, /** @type {number} */ end,
      /** @type {number} */ least) => {
      const [low, high] = [a, b].map((value) => Math.min(Math.max(value, 0), end)).sort((x, y) => x - y);
      const first = Math.max(0, Math.min(low, end - least));
      return [first, Math.max(high, Math.min(first + least, end))];
    };
    const [start_s, end_s] = ordered(box.start_s, box.end_s, duration_s, 0.005);
    const [low_hz, high_hz] = ordered(box.low_hz, box.high_hz, top_hz, 1);
    return { start_s, end_s, low_hz, high_hz };
  }

  chooseNext() {
    const boxes = this.boxes();
    if (boxes.length) this.choose(boxes[this.nextBox++ % boxes.length]);
  }

  /**
   * Chooses the smallest box at a place.
   * @param {Place} place
   */
  chooseAt({ seconds, hz }) {
    const hit = this.boxes().filter((box) =>
      box.start_s <= seconds && seconds <= box.end_s && box.low_hz <= hz && hz <= box.high_hz);
    const size = (/** @type {Box} */ box) => (box.end_s - box.start_s) * (box.high_hz - box.low_hz);
    hit.sort((a, b) => size(a) - size(b));
    if (hit.length) this.choose(hit[0]);
  }

  /**
   * Moves one border of the box; without a box, of one that is the whole clip.
   * @param {keyof Box} name
   * @param {string} value as it was typed; where that is no number, the clip's own border
   */
  setBorder(name, value) {
    const whole = { start_s: 0, end_s: this.data.clip.duration_s, low_hz: 0, high_hz: this.data.top_hz };
    const border = value === "" ? whole[name] : Number(value);
    this.choose({ ...(this.box ?? whole), [name]: border });
  }

  /** @param {Box | null} box */
  zoom(box) {
    if (!box) {
      this.setLook({ start_s: 0, end_s: this.data.clip.duration_s, low_hz: 0, high_hz: this.data.top_hz });
      return;
    }
    const around = 0.4 * (box.end_s - box.start_s);
    const [bottom, top] = [0.25, 0.25].map((share) => share * (box.high_hz - box.low_hz));
    this.setLook({
      start_s: Math.max(0, box.start_s - around),
      end_s: Math.min(this.data.clip.duration_s, box.end_s + around),
      low_hz: Math.max(0, box.low_hz - bottom),
      high_hz: Math.min(this.data.top_hz, box.high_hz + top),
    });
  }

  // -- what is heard ----------------------------------------------------------------------------------------------

  /** Shows what is heard, and follows it while it plays. */
  heard() {
    this.refresh();
    this.follow();
  }

  /** Brings the controls in line with what is on. */
  refresh() {
    for (const row of this.rows) row.show();
    const said = `${heardText(this.player)} ${boxText(this.box)}`.trim();
    if (this.status.textContent !== said) this.status.textContent = said; // a live region: said again, read again
  }

  /** Moves the playhead along; once more when it has stopped. */
  follow() {
    this.placePlayhead();
    this.seekRow.follow();
    this.timeText.textContent = `${this.player.position.toFixed(2)} / ${this.data.clip.duration_s.toFixed(2)} s`;
    if (!this.player.playing || this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.follow();
    });
  }

  /** Saves what is heard as a WAV file: the seconds that are played, at the sound's own rate and level. */
  async save() {
    if (!this.player.names.length) return;
    const { source, box } = this.player;
    const sound = await this.player.sound(source).catch(() => null);
    if (!sound) return this.player.fail();
    const part = source === "box" && box ? excerptOf(sound, [box]) : sound;
    const stem = this.data.name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}._-]+/gu, "_");
    const link = h("a", { href: URL.createObjectURL(wavOf(part)), download: `${stem}-${source}.wav` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }
}
