// Mouse, fingers and keys.

const KEYS = [
  ["Space", "play or pause"],
  ["← →, with Shift", "0.1 s or 1 s back and on"],
  ["Home, End", "to the start, to the end"],
  ["A B C D", "original, evidence, complement, residual, at the same instant"],
  ["K, R", "what the mask keeps, and the rest, where there is a mask"],
  ["N", "choose the next box"],
  ["S, E", "play the chosen box, or everything else"],
  ["L, M", "loop; match loudness"],
  ["[ ]", "slower, faster"],
  ["1 to 9, with Shift", "switch one overlay; show it alone"],
  ["O, H", "all boxes, all heat"],
  ["F", "frequency scale"],
  ["+ −, and , .", "gain; decibels shown"],
  ["Z, 0", "zoom to the chosen box; show all"],
  ["W", "save what is heard as a WAV file"],
  ["Esc", "drop the chosen box"],
];

const DRAG_PIXELS = 4; // a shorter way is a click

/** What the keys do. */
function help() {
  const rows = KEYS.map(([key, what]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, what)));
  return h("details", { class: "em-help" }, h("summary", {}, "Keys"), h("p", {},
    "Click the picture to go there, drag to choose a box, double-click a box to choose it."),
    h("table", {}, h("tbody", {}, ...rows)));
}

/**
 * Lets a click go there, a drag choose a box, and the place under the pointer be read.
 * @param {Viewer} viewer
 */
function listenToPointer(viewer) {
  const { plot } = viewer;
  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    plot.setPointerCapture(event.pointerId);
    viewer.down = event;
  });
  plot.addEventListener("pointermove", (event) => {
    readOut(viewer.reading, viewer.spectrogram, viewer.placeOf(event));
    const { down } = viewer;
    if (!down || !event.isPrimary) return;
    const way = Math.max(Math.abs(event.clientX - down.clientX), Math.abs(event.clientY - down.clientY));
    if (viewer.draft || way > DRAG_PIXELS) viewer.drag(viewer.placeOf(down), viewer.placeOf(event));
  });
  plot.addEventListener("pointerup", (event) => {
    if (!viewer.down || !event.isPrimary) return;
    if (viewer.draft) viewer.choose(viewer.draft);
    else viewer.player.seek(viewer.placeOf(event).seconds);
    viewer.drop();
  });
  plot.addEventListener("pointercancel", () => viewer.drop());
  plot.addEventListener("pointerleave", () => readOut(viewer.reading, null, null));
  plot.addEventListener("dblclick", (event) => viewer.chooseAt(viewer.placeOf(event)));
}

/** @param {Viewer} viewer */
function listenToKeys(viewer) {
  document.addEventListener("keydown", (event) => {
    const mine = viewer.root.dataset.keys !== "off"; // of several viewers on a page, one has the keys
    const run = !mine || event.defaultPrevented || isForControl(event) ? undefined : runOf(viewer, event);
    if (!run) return;
    event.preventDefault();
    run();
  });
}

/**
 * Says whether a key is for the control that has the focus, or for the browser.
 * @param {KeyboardEvent} event
 */
function isForControl(event) {
  const target = event.target instanceof HTMLElement ? event.target : document.body;
  const written = "[]".includes(event.key); // with AltGr or Option on many keyboards
  if (event.metaKey || ((event.ctrlKey || event.altKey) && !written)) return true;
  if (target.matches("input[type=number], input[type=text], input[type=search], textarea, select")) return true;
  if (target.matches("input[type=range]:not(.em-seek)") && /^(Arrow|Home|End|Page)/.test(event.key)) return true;
  return [" ", "Enter"].includes(event.key) && target.matches("button, a, summary, input:not([type=range])");
}

/**
 * Returns what a key does.
 * @param {Viewer} viewer
 * @param {KeyboardEvent} event
 * @returns {(() => unknown) | undefined}
 */
function runOf(viewer, event) {
  const digit = event.altKey ? null : /^Digit([1-9])$/.exec(event.code);
  const overlay = digit && viewer.data.overlays[Number(digit[1]) - 1];
  if (overlay) return () => viewer.switchOverlay(overlay.id, event.shiftKey);
  const key = event.key.toLowerCase();
  return { ...playerKeys(viewer, event.shiftKey ? 1 : 0.1), ...boxKeys(viewer), ...lookKeys(viewer) }[key];
}

/**
 * @param {Viewer} viewer
 * @param {number} step_s of the arrow keys
 * @returns {Record<string, () => unknown>}
 */
function playerKeys({ player, data }, step_s) {
  const faster = (/** @type {number} */ step) =>
    player.setRate(RATES[Math.min(RATES.length - 1, Math.max(0, RATES.indexOf(player.rate) + step))]);
  return {
    " ": () => player.toggle(),
    arrowleft: () => player.seek(player.position - step_s),
    arrowright: () => player.seek(player.position + step_s),
    home: () => player.seek(0),
    end: () => player.seek(data.clip.duration_s),
    a: () => player.setSource("original"),
    b: () => player.setSource("evidence"),
    c: () => player.setSource("complement"),
    d: () => player.setSource("residual"),
    k: () => player.setSource("mask"),
    r: () => player.setSource("unmasked"),
    s: () => player.playBox("box"),
    e: () => player.playBox("rest"),
    l: () => player.setLoop(!player.loop),
    m: () => player.setMatched(!player.matched),
    "[": () => faster(-1),
    "]": () => faster(1),
  };
}

/**
 * @param {Viewer} viewer
 * @returns {Record<string, () => unknown>}
 */
function boxKeys(viewer) {
  return {
    n: () => viewer.chooseNext(),
    z: () => viewer.box && viewer.zoom(viewer.box),
    0: () => viewer.zoom(null),
    w: () => viewer.save(),
    escape: () => (viewer.down ? viewer.drop() : viewer.choose(null)),
  };
}

/**
 * @param {Viewer} viewer
 * @returns {Record<string, () => unknown>}
 */
function lookKeys(viewer) {
  const { look } = viewer;
  const scales = /** @type {ScaleName[]} */ (Object.keys(SCALES));
  const moved = (/** @type {number} */ value, /** @type {number} */ low, /** @type {number} */ high) =>
    Math.min(high, Math.max(low, value));
  const gain = (/** @type {number} */ step) => viewer.setLook({ gain_db: moved(look.gain_db + step, -20, 60) });
  const range = (/** @type {number} */ step) => viewer.setLook({ range_db: moved(look.range_db + step, 20, 120) });
  return {
    o: () => viewer.setShow("showBoxes"),
    h: () => viewer.setShow("showHeat"),
    f: () => viewer.setLook({ scale: scales[(scales.indexOf(look.scale) + 1) % scales.length] }),
    "+": () => gain(4),
    "-": () => gain(-4),
    ".": () => range(10),
    ",": () => range(-10),
  };
}
