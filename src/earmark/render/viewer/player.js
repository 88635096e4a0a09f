// The player: several sounds of one clip that run together, of which one is heard; so switching keeps the instant.

/** @typedef {"original" | "evidence" | "complement" | "residual" | "box" | "rest"} SourceName */

/**
 * What the page holds of one clip.
 * @typedef {{sounds: Partial<Record<SourceName, PackedSound>>, duration_s: number, window_s: number}} ClipSounds
 */

const FADE_S = 0.012; // of a switch; shorter ones click
const MOST_MATCH_DB = 40;
const FULL = 0.99; // the peak that a matched sound may reach

/** Plays one clip's sounds in step. */
class Player {
  /**
   * @param {ClipSounds} clip
   * @param {() => void} changed called when playing starts, stops, or what is heard changes
   */
  constructor(clip, changed) {
    this.clip = clip;
    this.changed = changed;
    /** @type {Map<SourceName, Promise<Sound>>} */
    this.sounds = new Map();
    /** @type {Map<SourceName, Sound>} */
    this.ready = new Map();
    /** @type {Map<SourceName, {node: AudioBufferSourceNode, gain: GainNode}>} */
    this.running = new Map();
    /** @type {AudioContext | null} */
    this.context = null;
    /** @type {GainNode | null} */
    this.output = null;
    /** @type {SourceName} */
    this.source = "original";
    /** @type {Box | null} */
    this.box = null;
    /** @type {[number, number] | null} seconds that are played, instead of the whole clip */
    this.range = null;
    this.rate = 1;
    this.loop = false;
    this.matched = false;
    this.playing = false;
    this.rest_s = 0; // where it stands while it does not play
    this.began = { at: 0, from_s: 0 };
    this.start = 0; // counts starts, so that one that was overtaken is dropped
  }

  /** The names of the sounds that can be heard now. */
  get names() {
    /** @type {SourceName[]} */
    const names = ["original"];
    if (this.clip.sounds.evidence) names.push("evidence", "complement");
    if (this.clip.sounds.residual) names.push("residual");
    if (this.box) names.push("box", "rest");
    return this.clip.sounds.original ? names : [];
  }

  /** First and last second that is played. */
  get span() {
    return this.range ?? /** @type {[number, number]} */ ([0, this.clip.duration_s]);
  }

  /** Where the sound that comes out of the loudspeaker stands, in seconds of the clip. */
  get position() {
    if (!this.playing || !this.context) return this.rest_s;
    const late = this.context.outputLatency || this.context.baseLatency || 0;
    const passed = Math.max(0, this.context.currentTime - late - this.began.at) * this.rate;
    const [start, end] = this.span;
    const reached = this.began.from_s + passed;
    if (!this.loop || reached < end) return Math.min(reached, end);
    return start + ((reached - start) % (end - start));
  }

  /**
   * Returns one of the sounds; decodes or makes it when it is first asked for.
   * @param {SourceName} name
   * @returns {Promise<Sound>}
   */
  sound(name) {
    const known = this.sounds.get(name);
    if (known) return known;
    const made = this.made(name);
    this.sounds.set(name, made);
    made.then((sound) => {
      if (this.sounds.get(name) === made) this.ready.set(name, sound);
    }, () => this.sounds.delete(name));
    return made;
  }

  /**
   * @param {SourceName} name
   * @returns {Promise<Sound>}
   */
  async made(name) {
    const packed = this.clip.sounds[name];
    if (packed) return decoded(packed);
    const original = await this.sound("original");
    if (name === "complement") return minus(original, await this.sound("evidence"));
    if (name === "rest") return minus(original, await this.sound("box"));
    if (!this.box) throw new Error("There is no box to play.");
    return keptInBoxes(original, [this.box], this.clip.duration_s, this.clip.window_s);
  }

  /**
   * Sets the box of "box" and "rest".
   * @param {Box | null} box
   */
  async setBox(box) {
    this.box = box;
    for (const name of /** @type {SourceName[]} */ (["box", "rest"])) {
      this.sounds.delete(name);
      this.ready.delete(name);
    }
    if (this.source !== "box" && this.source !== "rest") return;
    if (!box) this.source = "original";
    await this.restart();
  }

  /**
   * Says what is heard; while it plays, at the same instant.
   * @param {SourceName} name
   */
  async setSource(name) {
    if (!this.names.includes(name)) return;
    this.source = name;
    if (this.playing && !this.running.has(name)) await this.restart();
    else this.setGains();
    this.changed();
  }

  /** @param {number} seconds */
  async seek(seconds) {
    const [start, end] = this.span;
    this.rest_s = Math.min(Math.max(seconds, 0), this.clip.duration_s);
    if (this.playing) await this.play(this.rest_s >= end || this.rest_s < start ? start : this.rest_s);
    this.changed();
  }

  /** @param {number} rate */
  async setRate(rate) {
    const position = this.position;
    this.rate = rate;
    if (this.playing) await this.play(position);
    this.changed();
  }

  /** @param {boolean} loop */
  async setLoop(loop) {
    this.loop = loop;
    await this.restart();
  }

  /** @param {[number, number] | null} range */
  async setRange(range) {
    this.range = range && [Math.max(0, range[0]), Math.min(this.clip.duration_s, range[1])];
    await this.restart();
  }

  /** @param {boolean} matched */
  setMatched(matched) {
    this.matched = matched;
    this.setGains();
    this.changed();
  }

  /** Goes on from here if it plays, with what has changed. */
  async restart() {
    if (this.playing) await this.play(this.position);
    else this.changed();
  }

  /**
   * Plays from a second on, or from where it stands.
   * @param {number} [from_s]
   */
  async play(from_s) {
    const turn = ++this.start;
    this.context ??= new AudioContext();
    const context = this.context;
    await Promise.all([context.resume(), ...this.names.slice(0, 3).map((name) => this.sound(name)),
      this.sound(this.source)]);
    if (turn !== this.start) return;
    const [start, end] = this.span;
    let from = from_s ?? this.rest_s;
    if (from < start || from >= end - 0.005) from = start;
    this.stopNodes();
    this.output ??= this.outputOf(context);
    const at = context.currentTime + 0.03;
    this.connect(context, this.output, at, from);
    this.began = { at, from_s: from };
    this.playing = true;
    this.setGains();
    this.changed();
  }

  /** @param {AudioContext} context */
  outputOf(context) {
    const output = context.createGain();
    output.connect(context.destination);
    return output;
  }

  /**
   * Starts every sound that is ready at one moment, silent but for the one that is heard.
   * @param {BaseAudioContext} context
   * @param {AudioNode} output
   * @param {number} at
   * @param {number} from_s
   */
  connect(context, output, at, from_s) {
    const [start, end] = this.span;
    for (const [name, sound] of this.ready) {
      const node = context.createBufferSource();
      node.buffer = bufferOf(context, sound);
      node.playbackRate.value = this.rate;
      const gain = context.createGain();
      gain.gain.value = name === this.source ? this.gainOf(name).gain : 0;
      node.connect(gain).connect(output);
      if (this.loop) [node.loop, node.loopStart, node.loopEnd] = [true, start, end];
      node.start(at, from_s, this.loop ? undefined : Math.max(0, end - from_s));
      if (name === "original") node.onended = () => this.ended(node);
      this.running.set(name, { node, gain });
    }
  }

  /** @param {AudioBufferSourceNode} node */
  ended(node) {
    if (this.running.get("original")?.node !== node || !this.playing) return;
    this.pause();
    this.rest_s = this.span[0];
    this.changed();
  }

  pause() {
    this.start++;
    this.rest_s = this.position;
    this.playing = false;
    this.stopNodes();
    this.changed();
  }

  stopNodes() {
    for (const { node, gain } of this.running.values()) {
      node.onended = null;
      node.stop();
      node.disconnect();
      gain.disconnect();
    }
    this.running.clear();
  }

  /** Fades to what is to be heard. */
  setGains() {
    if (!this.context) return;
    for (const [name, { gain }] of this.running) {
      const wanted = name === this.source ? this.gainOf(name).gain : 0;
      gain.gain.setTargetAtTime(wanted, this.context.currentTime, FADE_S / 3);
    }
  }

  /**
   * Returns the gain with which a sound is played: 1, or what makes it as loud (root mean square over what is played)
   * as the original, at most 40 dB and never so much that it would clip; `short_db` is what is then missing.
   * @param {SourceName} name
   * @returns {{gain: number, db: number, short_db: number}}
   */
  gainOf(name) {
    const [sound, original] = [this.ready.get(name), this.ready.get("original")];
    if (!this.matched || !sound || !original || name === "original") return { gain: 1, db: 0, short_db: 0 };
    const own = loudness(sound, ...this.span);
    const whole = loudness(original, ...this.span);
    if (own.rms < 1e-7) return { gain: 1, db: 0, short_db: 0 };
    const wanted = whole.rms / own.rms;
    const gain = Math.min(wanted, Math.max(1, FULL / own.peak), 10 ** (MOST_MATCH_DB / 20));
    return { gain, db: 20 * Math.log10(gain), short_db: Math.max(0, 20 * Math.log10(wanted / gain)) };
  }

  /**
   * Returns what would be heard, rendered through the same nodes in an OfflineAudioContext: `[channel][sample]`.
   * @param {SourceName} name
   * @returns {Promise<Float32Array[]>}
   */
  async rendered(name) {
    const sound = await this.sound(name);
    await this.sound("original");
    const [start, end] = this.span;
    const length = Math.round(((end - start) * sound.rate) / this.rate);
    const context = new OfflineAudioContext(sound.channels.length, Math.max(1, length), sound.rate);
    const heard = Object.create(this, { running: { value: new Map() }, source: { value: name } });
    heard.connect(context, context.destination, 0, start);
    const buffer = await context.startRendering();
    return sound.channels.map((_, c) => buffer.getChannelData(c));
  }
}

/**
 * @param {BaseAudioContext} context
 * @param {Sound} sound
 */
function bufferOf(context, sound) {
  const buffer = context.createBuffer(sound.channels.length, sound.channels[0].length, sound.rate);
  sound.channels.forEach((samples, c) => buffer.copyToChannel(/** @type {Float32Array<ArrayBuffer>} */ (samples), c));
  return buffer;
}
