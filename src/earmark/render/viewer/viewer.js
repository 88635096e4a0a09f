// The viewer: spectrogram, boxes and heat, and the controls of what is heard and seen.

/**
 * All that the viewer of one clip needs; `render/viewer.py` of the library makes it.
 * @typedef {{name: string, clip: ClipSounds, top_hz: number, heard_hz: number, spectrogram: PackedGrid,
 *   overlays: Overlay[], show_heat: boolean, colors: Record<string, string>, gallery: GalleryChannel[]}} ViewerData
 */

const SOURCE_TEXTS = {
  original: ["Original", "A", "the clip as it is"],
  evidence: ["Evidence", "B", "only what counted"],
  complement: ["Complement", "C", "all the rest"],
  residual: ["Residual", "D", "what the resynthesis lost"],
  box: ["This box", "S", "the clip, through the box only"],
  rest: ["Everything else", "E", "the clip without the box"],
};
const RATES = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2];
const KEYS = [
  ["Space", "play or pause"],
  ["← →, with Shift", "0.1 s or 1 s back and on"],
  ["Home, End", "to the start, to the end"],
  ["A B C D", "original, evidence, complement, residual, at the same instant"],
  ["N", "choose the next box"],
  ["S, E", "play the chosen box, or everything else"],
  ["L, M", "loop; match loudness"],
  ["[ ]", "slower, faster"],
  ["1 to 9, with Shift", "switch one overlay; show it alone"],
  ["O, H", "all boxes, all heat"],
  ["F", "frequency scale"],
  ["+ −, and , .", "gain; decibels shown"],
  ["Z, 0", "zoom to the chosen box; show all"],
  ["Esc", "drop the chosen box"],
];

/**
 * Makes an element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean | EventListener | undefined>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else if (name === "style") element.style.cssText = String(value);
    else if (value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/** @param {number} value */
function signedDb(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)} dB`;
}

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
    this.colorsChosen = false;
    this.on = new Set(data.overlays.map((overlay) => overlay.id));
    this.showBoxes = true;
    this.showHeat = data.show_heat;
    /** @type {Box | null} */
    this.box = null;
    this.nextBox = 0;
    /** @type {Values | null} */
    this.spectrogram = null;
    /** @type {Map<string, Values>} */
    this.heats = new Map();
    this.build();
  }

  /** Unpacks the pictures and draws; afterwards the viewer is ready. */
  async open() {
    const { spectrogram, overlays } = this.data;
    this.spectrogram = { ...spectrogram, values: await inflated(spectrogram.data) };
    for (const { id, heat } of overlays) {
      if (heat) this.heats.set(id, { ...heat, values: await inflated(heat.data) });
    }
    if (this.plot) new ResizeObserver(() => this.draw()).observe(this.plot);
    this.draw();
    this.heard();
    return this;
  }

  // -- building ---------------------------------------------------------------------------------------------------

  build() {
    this.pixels = h("canvas", { class: "em-pixels", "aria-hidden": "true" });
    this.marks = h("canvas", { class: "em-marks", "aria-hidden": "true" });
    this.playhead = h("div", { class: "em-playhead" });
    this.chosen = h("div", { class: "em-chosen", hidden: true });
    this.unheard = h("div", { class: "em-unheard", hidden: true }, h("span", {}, "not heard by the classifier"));
    this.plot = h("div", { class: "em-plot", role: "img", "aria-label": this.described() },
      this.pixels, this.marks, this.unheard, this.chosen, this.playhead);
    this.xTicks = h("div", { class: "em-x", "aria-hidden": "true" });
    this.yTicks = h("div", { class: "em-y", "aria-hidden": "true" });
    this.status = h("p", { class: "em-status", role: "status", "aria-live": "polite" });
    this.root.classList.add("em-viewer");
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", `Viewer of ${this.data.name}`);
    this.root.append(this.transport(), h("div", { class: "em-frame" }, this.yTicks, this.plot, this.xTicks),
      this.seekRow(), this.boxRow(), this.overlayRow(), this.lookRow(), this.status, this.help());
    this.listen();
  }

  described() {
    const { clip, top_hz, overlays } = this.data;
    const n = overlays.reduce((sum, overlay) => sum + overlay.boxes.length, 0);
    return `Spectrogram of ${this.data.name}, ${clip.duration_s.toFixed(2)} s, up to ${hzText(top_hz)}, with ` +
      `${n} ${n === 1 ? "box" : "boxes"}; the table of regions lists them.`;
  }

  transport() {
    this.playButton = h("button", { type: "button", class: "em-play", click: () => this.toggle() }, "Play");
    this.sources = h("div", { class: "em-sources", role: "radiogroup", "aria-label": "What is heard" });
    this.matchBox = h("input", {
      type: "checkbox", change: () => this.player.setMatched(/** @type {any} */ (this.matchBox).checked),
    });
    this.gainText = h("output", { class: "em-gain" });
    this.loopBox = h("input", {
      type: "checkbox", change: () => this.player.setLoop(/** @type {any} */ (this.loopBox).checked),
    });
    this.rateSelect = h("select", {
      "aria-label": "Speed; the pitch follows it",
      change: () => this.player.setRate(Number(/** @type {any} */ (this.rateSelect).value)),
    }, ...RATES.map((rate) => h("option", { value: rate, selected: rate === 1 }, `${rate}×`)));
    return h("div", { class: "em-row em-transport" }, this.playButton, this.sources,
      h("label", { title: "Speed; the pitch follows it, as on a tape" }, "speed ", this.rateSelect),
      h("label", {}, this.loopBox, " loop"),
      h("label", { title: "Make what is heard as loud as the original" }, this.matchBox, " match loudness"),
      this.gainText);
  }

  seekRow() {
    this.seekSlider = h("input", {
      type: "range", class: "em-seek", min: 0, max: this.data.clip.duration_s, step: 0.01, value: 0,
      "aria-label": "Position in seconds", input: () => this.player.seek(Number(this.seekSlider?.value)),
    });
    this.timeText = h("span", { class: "em-time" });
    return h("div", { class: "em-row em-seekrow" }, this.seekSlider, this.timeText);
  }

  boxRow() {
    const field = (/** @type {keyof Box} */ name, /** @type {string} */ text, /** @type {number} */ step) =>
      h("label", {}, `${text} `, h("input", {
        type: "number", class: "em-field", "data-field": name, step, min: 0, change: () => this.fieldsChanged(),
      }));
    const button = (/** @type {string} */ text, /** @type {() => void} */ run, /** @type {string} */ name) =>
      h("button", { type: "button", "data-do": name, click: run }, text);
    this.fields = h("fieldset", { class: "em-row em-boxrow" },
      h("legend", {}, "Box"),
      field("start_s", "from s", 0.01), field("end_s", "to s", 0.01),
      field("low_hz", "low Hz", 10), field("high_hz", "high Hz", 10),
      button("Play this box", () => this.playBox("box"), "box"),
      button("Play everything else", () => this.playBox("rest"), "rest"),
      button("Next box", () => this.chooseNext(), "next"),
      button("Zoom to it", () => this.zoom(this.box), "zoom"),
      button("Show all", () => this.zoom(null), "all"),
      button("Drop", () => this.choose(null), "drop"));
    return this.fields;
  }

  overlayRow() {
    this.switches = h("fieldset", { class: "em-row em-overlays" }, h("legend", {}, "Over the picture"));
    this.data.overlays.forEach((overlay, i) => {
      const box = h("input", {
        type: "checkbox", checked: true, "data-overlay": overlay.id, change: () => this.switchOverlay(overlay.id),
      });
      this.switches?.append(h("label", { class: "em-switch", title: `Key ${i + 1}` }, box,
        h("span", { class: "em-swatch", style: `--c:${overlay.color}` }, overlay.tag), ` ${overlay.name} `,
        h("small", {}, overlay.note)));
    });
    this.boxesBox = h("input", { type: "checkbox", checked: true, change: () => this.setShow("showBoxes") });
    this.heatBox = h("input", { type: "checkbox", checked: this.showHeat, change: () => this.setShow("showHeat") });
    this.fadeSlider = this.slider("fade", 0, 1, 0.05, "Strength of heat");
    if (this.data.overlays.length) {
      this.switches.append(h("span", { class: "em-gap" }), h("label", {}, this.boxesBox, " boxes"));
    }
    if (this.data.overlays.some((overlay) => overlay.heat)) {
      this.switches.append(h("label", {}, this.heatBox, " heat"), h("label", {}, "fade ", this.fadeSlider));
    }
    return this.switches;
  }

  lookRow() {
    this.scaleSelect = h("select", {
      change: () => this.setLook({ scale: /** @type {ScaleName} */ (this.scaleSelect?.value) }),
    }, ...["linear", "mel", "log"].map((name) => h("option", { value: name, selected: name === "mel" }, name)));
    this.colorSelect = h("select", { change: () => this.setColors(String(this.colorSelect?.value)) },
      ...Object.keys(this.data.colors).map((name) => h("option", { value: name, selected: name === "magma" }, name)));
    this.rangeSlider = this.slider("range_db", 20, 120, 5, "Decibels shown");
    this.gainSlider = this.slider("gain_db", -20, 60, 2, "Gain of the picture in decibels");
    this.lookText = h("span", { class: "em-looktext" });
    return h("div", { class: "em-row em-look" },
      h("label", {}, "frequency ", this.scaleSelect), h("label", {}, "colors ", this.colorSelect),
      h("label", {}, "range ", this.rangeSlider), h("label", {}, "gain ", this.gainSlider), this.lookText);
  }

  /**
   * @param {"fade" | "range_db" | "gain_db"} name
   * @param {number} min
   * @param {number} max
   * @param {number} step
   * @param {string} text
   */
  slider(name, min, max, step, text) {
    const input = h("input", { type: "range", min, max, step, value: this.look[name], "aria-label": text });
    input.addEventListener("input", () => this.setLook({ [name]: Number(input.value) }));
    return input;
  }

  help() {
    const rows = KEYS.map(([key, what]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, what)));
    return h("details", { class: "em-help" }, h("summary", {}, "Keys"), h("p", {},
      "Click the picture to go there, drag to choose a box, double-click a box to choose it."),
      h("table", {}, h("tbody", {}, ...rows)));
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

  draw() {
    if (!this.spectrogram || !this.pixels || !this.marks || !this.plot) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [this.plot.clientWidth, this.plot.clientHeight];
    if (!width || !height) return;
    for (const canvas of [this.pixels, this.marks]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const heats = this.heatsOn();
    const gray = heats.length && !this.colorsChosen;
    const look = gray ? { ...this.look, colors: bytesOf(this.data.colors.gray) } : this.look;
    drawPixels(this.pixels, this.spectrogram, heats, look, this.data.clip.duration_s);
    const shown = this.data.overlays.filter(({ id }) => this.showBoxes && this.on.has(id));
    drawBoxes(this.marks, shown, this.look, ratio);
    this.placeTicks(width, height);
    this.placeMarks();
    this.showState();
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  placeTicks(width, height) {
    const axes = this.axes;
    this.xTicks?.replaceChildren(...axes.secondTicks(width / 75).map((seconds) =>
      h("span", { style: `left:${100 * axes.x(seconds)}%` }, `${Number(seconds.toFixed(4))} s`)));
    this.yTicks?.replaceChildren(...axes.hzTicks(26 / height).map((hz) =>
      h("span", { style: `bottom:${100 * axes.y(hz)}%` }, hzText(hz))));
  }

  /** Puts playhead, chosen box and what is not heard where they belong. */
  placeMarks() {
    const axes = this.axes;
    const x = axes.x(this.player.position);
    if (this.playhead) this.playhead.style.cssText = x < 0 || x > 1 ? "display:none" : `left:${100 * x}%`;
    if (this.unheard) {
      this.unheard.hidden = this.data.heard_hz >= Math.min(this.data.top_hz, axes.high_hz) - 1;
      this.unheard.style.height = `${100 - 100 * Math.max(0, axes.y(this.data.heard_hz))}%`;
    }
    if (!this.chosen) return;
    this.chosen.hidden = !this.box;
    if (!this.box) return;
    const [left, right] = [axes.x(this.box.start_s), axes.x(this.box.end_s)].map((v) => Math.min(1, Math.max(0, v)));
    const [low, high] = [axes.y(Math.max(this.box.low_hz, axes.low_hz)), axes.y(this.box.high_hz)]
      .map((v) => Math.min(1, Math.max(0, v)));
    this.chosen.style.cssText = `left:${100 * left}%;width:${100 * (right - left)}%;` +
      `bottom:${100 * low}%;height:${100 * (high - low)}%`;
  }

  /** Brings the controls in line with what is on. */
  showState() {
    for (const input of this.switches?.querySelectorAll("input[data-overlay]") ?? []) {
      /** @type {HTMLInputElement} */ (input).checked = this.on.has(/** @type {any} */ (input).dataset.overlay);
    }
    if (this.boxesBox) this.boxesBox.checked = this.showBoxes;
    if (this.heatBox) this.heatBox.checked = this.showHeat;
    if (this.scaleSelect) this.scaleSelect.value = this.look.scale;
    if (this.rangeSlider) this.rangeSlider.value = String(this.look.range_db);
    if (this.gainSlider) this.gainSlider.value = String(this.look.gain_db);
    if (this.lookText) this.lookText.textContent = `${this.look.range_db} dB, ${signedDb(this.look.gain_db)}`;
    for (const button of this.fields?.querySelectorAll("button") ?? []) {
      const name = button.dataset.do;
      button.disabled = name === "next" ? !this.boxes().length : name !== "all" && !this.box;
      if (!this.player.names.length && (name === "box" || name === "rest")) button.disabled = true;
    }
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
    for (const input of this.fields?.querySelectorAll("input") ?? []) {
      const name = /** @type {keyof Box} */ (input.dataset.field);
      input.value = this.box ? String(Number(this.box[name].toFixed(name.endsWith("hz") ? 1 : 3))) : "";
    }
    this.placeMarks();
    this.showState();
    const range = this.box && this.player.range ? spanOf([this.box]) : null;
    return this.player.setBox(this.box).then(() => this.player.setRange(range));
  }

  /** @param {Box} box */
  inside(box) {
    const { duration_s } = this.data.clip;
    const clip = (/** @type {number} */ value, /** @type {number} */ top) => Math.min(Math.max(value, 0), top);
    const [start_s, end_s] = [clip(box.start_s, duration_s), clip(box.end_s, duration_s)].sort((a, b) => a - b);
    const [low_hz, high_hz] = [clip(box.low_hz, this.data.top_hz), clip(box.high_hz, this.data.top_hz)]
      .sort((a, b) => a - b);
    return { start_s, end_s: Math.max(end_s, start_s + 0.005), low_hz, high_hz: Math.max(high_hz, low_hz + 1) };
  }

  chooseNext() {
    const boxes = this.boxes();
    if (!boxes.length) return;
    this.choose(boxes[this.nextBox++ % boxes.length]);
  }

  fieldsChanged() {
    /** @type {Record<string, number>} */
    const values = {};
    for (const input of this.fields?.querySelectorAll("input") ?? []) {
      if (input.value !== "") values[String(input.dataset.field)] = Number(input.value);
    }
    const whole = { start_s: 0, end_s: this.data.clip.duration_s, low_hz: 0, high_hz: this.data.top_hz };
    this.choose({ ...whole, ...values });
  }

  /** @param {"box" | "rest"} name */
  async playBox(name) {
    if (!this.box) return;
    await this.player.setRange(name === "box" ? spanOf([this.box]) : null);
    await this.player.setSource(name);
    await this.player.play(name === "box" ? this.player.span[0] : undefined);
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

  toggle() {
    if (this.player.playing) this.player.pause();
    else this.player.play();
  }

  /** @param {SourceName} name */
  pick(name) {
    if (!this.player.names.includes(name)) return;
    if (name !== "box" && this.player.range) this.player.setRange(null);
    this.player.setSource(name);
  }

  /** Shows what is heard, and follows it while it plays. */
  heard() {
    const { player } = this;
    if (this.playButton) {
      this.playButton.textContent = player.playing ? "Pause" : "Play";
      this.playButton.disabled = !player.names.length;
      this.playButton.setAttribute("aria-pressed", String(player.playing));
    }
    this.showSources();
    if (this.loopBox) this.loopBox.checked = player.loop;
    if (this.matchBox) this.matchBox.checked = player.matched;
    if (this.rateSelect) this.rateSelect.value = String(player.rate);
    this.showGain();
    this.showState();
    if (this.status) {
      const what = SOURCE_TEXTS[player.source][0].toLowerCase();
      this.status.textContent = !player.names.length ? "The clip is too long for its sounds to be on this page."
        : player.playing ? `Playing: ${what}${player.rate === 1 ? "" : ` at ${player.rate} times the speed`}.`
          : `Chosen to be heard: ${what}.`;
    }
    this.follow();
  }

  showSources() {
    const { names, source } = this.player;
    if (this.sources?.dataset.names !== names.join()) {
      this.sources?.replaceChildren(...names.map((name) => h("button", {
        type: "button", role: "radio", "data-source": name, click: () => this.pick(name),
        title: `${SOURCE_TEXTS[name][2]} (key ${SOURCE_TEXTS[name][1]})`,
      }, SOURCE_TEXTS[name][0])));
      if (this.sources) this.sources.dataset.names = names.join();
    }
    for (const button of this.sources?.querySelectorAll("button") ?? []) {
      button.setAttribute("aria-checked", String(button.dataset.source === source));
    }
  }

  showGain() {
    const { gain, db, short_db } = this.player.gainOf(this.player.source);
    const short = short_db > 0.05 ? `, ${short_db.toFixed(1)} dB short of the original, not to clip` : "";
    if (this.gainText) this.gainText.textContent = this.player.matched && gain ? `${signedDb(db)}${short}` : "";
  }

  /** Moves the playhead along; once more when it has stopped. */
  follow() {
    const seconds = this.player.position;
    this.placeMarks();
    if (this.seekSlider && document.activeElement !== this.seekSlider) this.seekSlider.value = String(seconds);
    this.seekSlider?.setAttribute("aria-valuetext", `${seconds.toFixed(2)} s`);
    if (this.timeText) this.timeText.textContent = `${seconds.toFixed(2)} / ${this.data.clip.duration_s.toFixed(2)} s`;
    if (this.player.playing && !this.following) {
      this.following = requestAnimationFrame(() => {
        this.following = 0;
        this.follow();
      });
    }
  }

  // -- mouse and keys ---------------------------------------------------------------------------------------------

  listen() {
    const { plot } = this;
    /** @type {{x: number, y: number, moved: boolean} | null} */
    let down = null;
    const shares = (/** @type {MouseEvent} */ event) => {
      const bounds = /** @type {HTMLElement} */ (plot).getBoundingClientRect();
      return {
        x: Math.min(1, Math.max(0, (event.clientX - bounds.left) / bounds.width)),
        y: Math.min(1, Math.max(0, 1 - (event.clientY - bounds.top) / bounds.height)),
        pixels: bounds.width,
      };
    };
    const dragged = (/** @type {{x: number, y: number}} */ from, /** @type {{x: number, y: number}} */ to) => {
      const axes = this.axes;
      return this.inside({
        start_s: axes.seconds(Math.min(from.x, to.x)), end_s: axes.seconds(Math.max(from.x, to.x)),
        low_hz: axes.hz(Math.min(from.y, to.y)), high_hz: axes.hz(Math.max(from.y, to.y)),
      });
    };
    plot?.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      plot.setPointerCapture(event.pointerId);
      down = { ...shares(event), moved: false };
    });
    plot?.addEventListener("pointermove", (event) => {
      if (!down) return;
      const at = shares(event);
      if (Math.abs(at.x - down.x) * at.pixels > 4) down.moved = true;
      if (!down.moved) return;
      this.box = dragged(down, at);
      this.placeMarks();
    });
    plot?.addEventListener("pointerup", (event) => {
      if (!down) return;
      const at = shares(event);
      if (down.moved) this.choose(dragged(down, at));
      else this.player.seek(this.axes.seconds(at.x));
      down = null;
    });
    plot?.addEventListener("pointercancel", () => {
      down = null;
    });
    plot?.addEventListener("dblclick", (event) => this.chooseAt(shares(event)));
    document.addEventListener("keydown", (event) => this.key(event));
  }

  /** @param {{x: number, y: number}} at */
  chooseAt(at) {
    const [seconds, hz] = [this.axes.seconds(at.x), this.axes.hz(at.y)];
    const hit = this.boxes().filter((box) =>
      box.start_s <= seconds && seconds <= box.end_s && box.low_hz <= hz && hz <= box.high_hz);
    const size = (/** @type {Box} */ box) => (box.end_s - box.start_s) * (box.high_hz - box.low_hz);
    hit.sort((a, b) => size(a) - size(b));
    if (hit.length) this.choose(hit[0]);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const target = event.target instanceof HTMLElement ? event.target : document.body;
    const typing = target.matches("input[type=number], input[type=text], input[type=search], textarea, select");
    if (event.ctrlKey || event.metaKey || event.altKey || typing) return;
    const onControl = target.matches("button, a, summary, input");
    if (onControl && [" ", "Enter"].includes(event.key)) return;
    if (target.matches("input[type=range]") && /^(Arrow|Home|End|Page)/.test(event.key)) return;
    const digit = /^Digit([1-9])$/.exec(event.code);
    const run = digit ? this.digit(Number(digit[1]) - 1, event.shiftKey) : this.action(event.key, event.shiftKey);
    if (!run) return;
    event.preventDefault();
    run();
  }

  /**
   * @param {number} index
   * @param {boolean} alone
   */
  digit(index, alone) {
    const overlay = this.data.overlays[index];
    return overlay && (() => this.switchOverlay(overlay.id, alone));
  }

  /**
   * Returns what a key does.
   * @param {string} key
   * @param {boolean} shift
   * @returns {(() => unknown) | undefined}
   */
  action(key, shift) {
    const { player, look } = this;
    const scales = /** @type {ScaleName[]} */ (["linear", "mel", "log"]);
    const faster = (/** @type {number} */ step) =>
      player.setRate(RATES[Math.min(RATES.length - 1, Math.max(0, RATES.indexOf(player.rate) + step))]);
    const between = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high) =>
      Math.min(high, Math.max(low, value));
    /** @type {Record<string, () => unknown>} */
    const actions = {
      " ": () => this.toggle(),
      arrowleft: () => player.seek(player.position - (shift ? 1 : 0.1)),
      arrowright: () => player.seek(player.position + (shift ? 1 : 0.1)),
      home: () => player.seek(0),
      end: () => player.seek(this.data.clip.duration_s),
      a: () => this.pick("original"),
      b: () => this.pick("evidence"),
      c: () => this.pick("complement"),
      d: () => this.pick("residual"),
      s: () => this.playBox("box"),
      e: () => this.playBox("rest"),
      n: () => this.chooseNext(),
      l: () => player.setLoop(!player.loop),
      m: () => player.setMatched(!player.matched),
      "[": () => faster(-1),
      "]": () => faster(1),
      o: () => this.setShow("showBoxes"),
      h: () => this.setShow("showHeat"),
      f: () => this.setLook({ scale: scales[(scales.indexOf(look.scale) + 1) % 3] }),
      "+": () => this.setLook({ gain_db: between(look.gain_db + 4, -20, 60) }),
      "-": () => this.setLook({ gain_db: between(look.gain_db - 4, -20, 60) }),
      ".": () => this.setLook({ range_db: between(look.range_db + 10, 20, 120) }),
      ",": () => this.setLook({ range_db: between(look.range_db - 10, 20, 120) }),
      z: () => this.box && this.zoom(this.box),
      0: () => this.zoom(null),
      escape: () => this.choose(null),
    };
    return actions[key.toLowerCase()];
  }
}
