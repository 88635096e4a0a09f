// The controls below and above the picture. Each row is made by one function; `show` brings it in line with what is on.

/** @typedef {{element: HTMLElement, show: () => void}} Row */

const SOURCE_TEXTS = {
  original: ["Original", "A", "the clip as it is"],
  evidence: ["Evidence", "B", "only what counted"],
  complement: ["Complement", "C", "all the rest"],
  residual: ["Residual", "D", "what the resynthesis lost"],
  mask: ["Mask", "K", "only what the mask keeps"],
  unmasked: ["Without mask", "R", "the clip without what the mask keeps"],
  box: ["This box", "S", "the clip, through the box only"],
  rest: ["Everything else", "E", "the clip without the box"],
};
const RATES = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2];

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

/**
 * Makes an input.
 * @param {Record<string, string | number | boolean | EventListener | undefined>} attributes
 */
function control(attributes) {
  return h("input", attributes);
}

/**
 * Play, what is heard, and how.
 * @param {Viewer} viewer
 * @returns {Row}
 */
function transportRow(viewer) {
  const { player } = viewer;
  const play = h("button", { type: "button", class: "em-play", click: () => player.toggle() });
  const sources = sourcesGroup(viewer);
  const rate = h("select", {
    "aria-label": "Speed; the pitch follows it", change: () => player.setRate(Number(rate.value)),
  }, ...RATES.map((value) => h("option", { value }, `${value}×`)));
  const loop = control({ type: "checkbox", change: () => player.setLoop(loop.checked) });
  const match = control({ type: "checkbox", change: () => player.setMatched(match.checked) });
  const gain = h("output", { class: "em-gain" });
  const show = () => {
    play.textContent = player.wanted ? "Pause" : "Play";
    play.disabled = !player.names.length;
    sources.show();
    rate.value = String(player.rate);
    loop.checked = player.loop;
    match.checked = player.matched;
    gain.textContent = gainText(player);
  };
  const element = h("div", { class: "em-row em-transport" }, play, sources.element, viewer.timeText,
    h("label", { title: "Speed; the pitch follows it, as on a tape" }, "speed ", rate),
    h("label", {}, loop, " loop"),
    h("label", { title: "Make what is heard as loud as the original" }, match, " match loudness"), gain);
  return { element, show };
}

/** @param {Player} player */
function gainText(player) {
  if (!player.matched) return "";
  const { db, short_db } = player.gainOf(player.source);
  return signedDb(db) + (short_db > 0.05 ? `, ${short_db.toFixed(1)} dB short of the original, not to clip` : "");
}

/**
 * What is heard, as radio buttons: one of them is in the tab order, arrow keys lead to the others.
 * @param {Viewer} viewer
 * @returns {Row}
 */
function sourcesGroup({ player }) {
  const element = h("div", { class: "em-sources", role: "radiogroup", "aria-label": "What is heard" });
  const button = (/** @type {SourceName} */ name) => h("button", {
    type: "button", role: "radio", "data-source": name, click: () => player.setSource(name),
    title: `${SOURCE_TEXTS[name][2]} (key ${SOURCE_TEXTS[name][1]})`,
  }, SOURCE_TEXTS[name][0]);
  let shown = "";
  const show = () => {
    const focused = element.contains(document.activeElement);
    if (shown !== player.names.join()) element.replaceChildren(...player.names.map(button));
    shown = player.names.join();
    for (const one of element.querySelectorAll("button")) {
      const chosen = one.dataset.source === player.source;
      one.setAttribute("aria-checked", String(chosen));
      one.tabIndex = chosen ? 0 : -1;
      if (chosen && focused) one.focus();
    }
  };
  element.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const { names, source } = player;
    player.setSource(names[(names.indexOf(source) + step + names.length) % names.length]);
  });
  return { element, show };
}

/**
 * Takes up the buttons beside the viewer that play one of the clip's sounds from where it stands; again: pause.
 * @param {Viewer} viewer
 * @returns {Row[]}
 */
function hearButtons({ player }) {
  return [...document.querySelectorAll("button[data-hear]")].map((one) => {
    const element = /** @type {HTMLElement} */ (one);
    const name = /** @type {SourceName} */ (element.dataset.hear);
    const heard = () => player.wanted && player.source === name;
    element.addEventListener("click", async () => {
      if (heard()) return player.pause();
      await player.setSource(name);
      if (!player.wanted) await player.play();
    });
    return { element, show: () => element.setAttribute("aria-pressed", String(heard())) };
  });
}

/**
 * The position; `follow` moves it along, and only `show` tells screen readers.
 * @param {Viewer} viewer
 * @returns {Row & {follow: () => void}}
 */
function seekRow({ player, data }) {
  const slider = control({
    type: "range", class: "em-seek", min: 0, max: data.clip.duration_s, step: "any", value: 0,
    "aria-label": "Position in seconds", input: () => player.seek(Number(slider.value)), focus: () => show(),
  });
  const follow = () => {
    if (!slider.matches(":active")) slider.value = String(player.position);
  };
  const show = () => slider.setAttribute("aria-valuetext", `${player.position.toFixed(2)} s`);
  return { element: h("div", { class: "em-row em-seekrow" }, slider), show, follow };
}

/**
 * The chosen box: its borders as numbers, and what can be done with it. `fill` writes the numbers.
 * @param {Viewer} viewer
 * @returns {Row & {fill: () => void}}
 */
function boxRow(viewer) {
  const field = (/** @type {keyof Box} */ name, /** @type {string} */ text, /** @type {number} */ step) =>
    h("label", {}, `${text} `, control({
      type: "number", class: "em-field", "data-field": name, step, min: 0,
      change: (event) => viewer.setBorder(name, /** @type {HTMLInputElement} */ (event.target).value),
    }));
  const button = (/** @type {string} */ text, /** @type {() => void} */ run, /** @type {string} */ name, title = "") =>
    h("button", { type: "button", "data-do": name, click: run, title: title || undefined }, text);
  const element = h("fieldset", { class: "em-row em-boxrow" },
    h("legend", {}, "Box"),
    field("start_s", "from s", 0.01), field("end_s", "to s", 0.01),
    field("low_hz", "low Hz", 10), field("high_hz", "high Hz", 10),
    button("Play this box", () => viewer.player.playBox("box"), "box"),
    button("Play everything else", () => viewer.player.playBox("rest"), "rest"),
    button("Next box", () => viewer.chooseNext(), "next"),
    button("Zoom to it", () => viewer.zoom(viewer.box), "zoom"),
    button("Show all", () => viewer.zoom(null), "all"),
    button("Drop", () => viewer.choose(null), "drop"),
    button("Save what is heard", () => viewer.save(), "save",
      "As a WAV file: 24 bit, at normal speed, not matched in loudness; of a box, its seconds"));
  const fill = () => {
    for (const input of element.querySelectorAll("input")) {
      const name = /** @type {keyof Box} */ (input.dataset.field);
      input.value = viewer.box ? String(Number(viewer.box[name].toFixed(name.endsWith("hz") ? 1 : 3))) : "";
    }
  };
  const show = () => {
    const { box, player } = viewer;
    const chosen = box !== null;
    const save = player.names.length > 0;
    const heard = chosen && save;
    /** @type {Record<string, boolean>} */
    const usable = {
      box: heard, rest: heard, next: viewer.boxes().length > 0, zoom: chosen, all: true, drop: chosen, save,
    };
    for (const one of element.querySelectorAll("button")) one.disabled = !usable[String(one.dataset.do)];
  };
  return { element, show, fill };
}

/**
 * Boxes and heat, switched and faded.
 * @param {Viewer} viewer
 * @returns {Row}
 */
function overlayRow(viewer) {
  const { overlays } = viewer.data;
  const switches = overlays.map(({ id, color, tag, name, note }, i) => {
    const box = control({ type: "checkbox", "data-overlay": id, change: () => viewer.switchOverlay(id) });
    const swatch = h("span", { class: "em-swatch", style: `--c:${color}` }, tag);
    const attributes = { class: "em-switch", title: i < 9 ? `Key ${i + 1}` : undefined };
    return { id, box, label: h("label", attributes, box, swatch, ` ${name} `, h("small", {}, note)) };
  });
  const boxes = control({ type: "checkbox", change: () => viewer.setShow("showBoxes") });
  const heat = control({ type: "checkbox", change: () => viewer.setShow("showHeat") });
  const fade = slider(viewer, "fade", 0, 1, 0.05, "Strength of heat");
  const element = h("fieldset", { class: "em-row em-overlays" }, h("legend", {}, "Over the picture"),
    ...switches.map(({ label }) => label));
  if (overlays.length) element.append(h("span", { class: "em-gap" }), h("label", {}, boxes, " boxes"));
  if (overlays.some((overlay) => overlay.heat)) {
    element.append(h("label", {}, heat, " heat"), h("label", {}, "fade ", fade));
  }
  const show = () => {
    for (const { id, box } of switches) box.checked = viewer.on.has(id);
    boxes.checked = viewer.showBoxes;
    heat.checked = viewer.showHeat;
  };
  return { element, show };
}

/**
 * How the spectrogram is drawn.
 * @param {Viewer} viewer
 * @returns {Row}
 */
function lookRow(viewer) {
  const { look, data } = viewer;
  const options = (/** @type {string[]} */ names, /** @type {string} */ chosen) =>
    names.map((value) => h("option", { value, selected: value === chosen }, value));
  const scale = h("select", { change: () => viewer.setLook({ scale: /** @type {ScaleName} */ (scale.value) }) },
    ...options(Object.keys(SCALES), look.scale));
  const colors = h("select", { change: () => viewer.setColors(colors.value) },
    ...options(Object.keys(data.colors), "magma"));
  const range = slider(viewer, "range_db", 20, 120, 5, "Decibels shown");
  const gain = slider(viewer, "gain_db", -20, 60, 2, "Gain of the picture in decibels");
  const text = h("span", { class: "em-looktext" });
  const show = () => {
    scale.value = look.scale;
    range.value = String(look.range_db);
    gain.value = String(look.gain_db);
    text.textContent = `${look.range_db} dB, ${signedDb(look.gain_db)}`;
  };
  const element = h("div", { class: "em-row em-look" },
    h("label", {}, "frequency ", scale), h("label", {}, "colors ", colors),
    h("label", {}, "range ", range), h("label", {}, "gain ", gain), text);
  return { element, show };
}

/**
 * @param {Viewer} viewer
 * @param {"fade" | "range_db" | "gain_db"} name
 * @param {number} min
 * @param {number} max
 * @param {number} step
 * @param {string} text
 */
function slider(viewer, name, min, max, step, text) {
  const input = control({
    type: "range", min, max, step, value: viewer.look[name], "aria-label": text,
    input: () => viewer.setLook({ [name]: Number(input.value) }),
  });
  return input;
}

/**
 * Says what is heard.
 * @param {Player} player
 */
function heardText({ names, source, broken, wanted, playing, rate }) {
  const what = SOURCE_TEXTS[source][0];
  if (!names.length) return "The clip is too long for its sounds to be on this page.";
  if (broken) return `${what} cannot be heard: this browser could not decode its sound.`;
  if (!wanted) return `Chosen to be heard: ${what.toLowerCase()}.`;
  if (!playing) return `Making ready: ${what.toLowerCase()}.`;
  return `Playing: ${what.toLowerCase()}${rate === 1 ? "" : ` at ${rate} times the speed`}.`;
}

/**
 * Says where the box is.
 * @param {Box | null} box
 */
function boxText(box) {
  if (!box) return "";
  const { start_s, end_s, low_hz, high_hz } = box;
  return `The box: ${start_s.toFixed(2)} to ${end_s.toFixed(2)} s, ${low_hz.toFixed(0)} to ${high_hz.toFixed(0)} Hz.`;
}
