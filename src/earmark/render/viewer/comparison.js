// The page of several methods: one viewer for each clip, in which the evidence of one method at a time is heard.

/**
 * What the viewer of a clip needs, and the evidence of each method as sound, by the method's overlay.
 * @typedef {ViewerData & {evidence: Record<string, PackedSound>}} ComparedClip
 */

/** One clip: its viewer, and the method that is heard and shown. */
class Compared {
  /**
   * @param {HTMLElement} section
   * @param {ComparedClip} data
   * @param {() => void} chosen called when someone works in it
   */
  constructor(section, data, chosen) {
    this.section = section;
    this.data = data;
    this.root = /** @type {HTMLElement} */ (section.querySelector(".viewer"));
    this.viewer = new Viewer(this.root, data);
    this.viewer.player.matched = true;
    this.method = "";
    for (const name of ["pointerdown", "focusin"]) section.addEventListener(name, chosen);
    for (const element of section.querySelectorAll("[data-method]")) {
      element.addEventListener("click", () => this.choose(String(/** @type {HTMLElement} */ (element).dataset.method)));
    }
    for (const element of section.querySelectorAll("[data-hear]")) {
      element.addEventListener("click", () => this.hear(String(/** @type {HTMLElement} */ (element).dataset.hear)));
    }
    this.choose(data.overlays[0]?.id ?? "");
  }

  /**
   * Shows one method alone; its evidence is what the viewer plays as evidence from now on.
   * @param {string} id of its overlay
   */
  async choose(id) {
    const { viewer, data } = this;
    const { player } = viewer;
    this.method = id;
    viewer.on = new Set([id]);
    for (const element of this.section.querySelectorAll("[data-method]")) {
      element.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (element).dataset.method === id));
    }
    for (const name of /** @type {SourceName[]} */ (["evidence", "complement"])) {
      player.stopNode(name);
      player.sounds.delete(name);
      player.ready.delete(name);
    }
    player.clip.sounds.evidence = data.evidence[id];
    if (!player.names.includes(player.source)) player.source = "original";
    viewer.draw();
    await player.restart();
  }

  /**
   * Plays the original, or the evidence of a method, from where it stands.
   * @param {string} what `original`, or the overlay of a method
   */
  async hear(what) {
    const { player } = this.viewer;
    if (what !== "original" && what !== this.method) await this.choose(what);
    await player.setSource(what === "original" ? "original" : "evidence");
    if (!player.wanted) await player.play();
  }
}

/**
 * Opens the viewers of a page, one after the other; keys belong to the one that was last worked in, and where one
 * plays, the others stop.
 * @returns {Promise<Viewer[]>}
 */
async function openComparison() {
  /** @type {ComparedClip[]} */
  const clips = JSON.parse(document.getElementById("earmark-data")?.textContent ?? "[]");
  /** @type {Compared[]} */
  const all = [];
  const keysTo = (/** @type {number} */ chosen) =>
    all.forEach(({ root }, i) => (root.dataset.keys = i === chosen ? "on" : "off"));
  for (const [i, data] of clips.entries()) {
    const section = /** @type {HTMLElement} */ (document.getElementById(`clip-${i}`));
    all.push(new Compared(section, data, () => keysTo(i)));
  }
  keysTo(0);
  for (const one of all) {
    one.viewer.player.before = () => {
      for (const { viewer } of all) if (viewer !== one.viewer && viewer.player.wanted) viewer.player.pause();
    };
    try {
      await one.viewer.open();
      one.root.dataset.ready = String(Math.round(performance.now()));
    } catch (error) {
      one.root.replaceChildren(`This browser cannot show the picture and the sounds (${error}); a newer one can.`);
      throw error;
    }
  }
  return all.map(({ viewer }) => viewer);
}
