// The player: several sounds of one clip that run together, of which one is heard; so switching keeps the instant.

/**
 * `mask` is what a mask beside the explanation keeps, `unmasked` the clip without it.
 * @typedef {"original" | "evidence" | "complement" | "residual" | "mask" | "unmasked" | "box" | "rest"} SourceName
 */

/**
 * What the page holds of one clip.
 * @typedef {{sounds: Partial<Record<SourceName, PackedSound>>, duration_s: number, window_s: number}} ClipSounds
 */

const FADE_S = 0.012; // of a switch; shorter ones click

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
    /** @type {[number, number] | null} seconds of "box" that are played, instead of the whole clip */
    this.range = null;
    this.rate = 1;
    this.loop = false;
    this.matched = false;
    this.wanted = false; // whether it is to play, also while its sounds are not ready yet
    this.playing = false;
    this.rest_s = 0; // where it stands while it does not play
    /** @type {number | null} where it will go on as soon as its sounds are ready */
    this.next_s = null;
    this.began = { at: 0, from_s: 0, rate: 1, loop: false, span: this.span }; // of what sounds now
    this.start = 0; // counts starts, so that one that was overtaken is dropped
    this.before = () => {}; // called before it plays
    /** @type {SourceName | null} what could not be decoded */
    this.broken = null;
  }

  /** The names of the sounds that can be heard now. */
  get names() {
    /** @type {SourceName[]} */
    const names = ["original"];
    if (this.clip.sounds.evidence) names.push("evidence", "complement");
    if (this.clip.sounds.residual) names.push("residual");
    if (this.clip.sounds.mask) names.push("mask", "unmasked");
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
    const { at, from_s, rate, loop, span: [start, end] } = this.began;
    const reached = from_s + Math.max(0, this.context.currentTime - late - at) * rate;
    if (!loop || reached < end) return Math.min(reached, end);
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
    const { box } = this;
    const original = await this.sound("original");
    if (name === "complement") return minus(original, await this.sound("evidence"));
    if (name === "unmasked") return minus(original, await this.sound("mask"));
    if (this.box !== box) return this.sound(name); // chosen meanwhile
    if (name === "rest") return minus(original, await this.sound("box"));
    if (!box) throw new Error("There is no box to play.");
    return keptInBoxes(original, [box], this.clip.duration_s, this.clip.window_s);
  }

  /**
   * Sets the box of "box" and "rest"; where only a box's seconds are played, its own from now on.
   * @param {Box | null} box
   */
  async setBox(box) {
    this.box = box;
    if (this.range) this.range = box && this.clipped(spanOf([box]));
    for (const name of /** @type {SourceName[]} */ (["box", "rest"])) {
      this.sounds.delete(name);
      this.ready.delete(name);
      this.stopNode(name);
    }
    if (this.source !== "box" && this.source !== "rest") return this.changed();
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
    this.broken = null;
    const whole = this.range && name !== "box";
    if (whole) this.range = null;
    if (whole || !this.running.has(name)) return this.restart();
    this.setGains();
    this.changed();
  }

  /**
   * Plays the box from its first second, or everything else from where it stands.
   * @param {"box" | "rest"} name
   */
  async playBox(name) {
    if (!this.box) return;
    this.source = name;
    this.range = name === "box" ? this.clipped(spanOf([this.box])) : null;
    await this.play(this.range?.[0]);
  }

  /** @param {number} seconds */
  async seek(seconds) {
    const to = Math.min(Math.max(seconds, 0), this.clip.duration_s);
    if (this.wanted && (this.range || this.loop || to < this.clip.duration_s)) return this.play(to);
    if (this.wanted) this.pause();
    this.rest_s = to;
    this.changed();
  }

  /** @param {number} rate */
  async setRate(rate) {
    this.rate = rate;
    await this.restart();
  }

  /** @param {boolean} loop */
  async setLoop(loop) {
    this.loop = loop;
    await this.restart();
  }

  /**
   * @param {[number, number]} range
   * @returns {[number, number]}
   */
  clipped(range) {
    return [Math.max(0, range[0]), Math.min(this.clip.duration_s, range[1])];
  }

  /** @param {boolean} matched */
  setMatched(matched) {
    this.matched = matched;
    this.setGains();
    this.changed();
  }

  /** Goes on from here if it plays, with what has changed. */
  async restart() {
    if (this.wanted) await this.play();
    else this.changed();
  }

  /**
   * Plays from a second on, or from where it stands.
   * @param {number} [from_s]
   */
  async play(from_s) {
    if (!this.names.length) return;
    const turn = ++this.start;
    this.before();
    this.next_s = from_s ?? this.next_s ?? this.position;
    this.wanted = true;
    this.broken = null;
    this.context ??= new AudioContext();
    this.changed();
    const ready = await this.prepared(this.context).catch(() => false);
    if (turn !== this.start) return;
    if (ready) this.begin(this.context, this.next_s ?? 0);
    else this.fail();
  }

  /**
   * Waits for the sound that is heard, and for those that one may switch to.
   * @param {AudioContext} context
   */
  async prepared(context) {
    const others = Promise.allSettled(this.names.slice(0, 3).map((name) => this.sound(name)));
    await Promise.all([context.resume(), this.sound("original"), this.sound(this.source), others]);
    return true;
  }

  /**
   * @param {AudioContext} context
   * @param {number} from_s
   */
  begin(context, from_s) {
    const { rate, loop, span } = this;
    const from = from_s < span[0] || from_s >= span[1] - 0.005 ? span[0] : from_s;
    this.stopNodes();
    this.output ??= this.outputOf(context);
    const at = context.currentTime + 0.03;
    this.connect(context, this.output, at, from);
    this.began = { at, from_s: from, rate, loop, span };
    this.playing = true;
    this.next_s = null;
    this.changed();
  }

  fail() {
    this.pause();
    this.broken = this.source;
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

  toggle() {
    if (this.wanted) this.pause();
    else this.play();
  }

  pause() {
    this.start++;
    this.rest_s = this.next_s ?? this.position;
    this.next_s = null;
    this.wanted = false;
    this.playing = false;
    this.stopNodes();
    this.changed();
  }

  stopNodes() {
    for (const name of [...this.running.keys()]) this.stopNode(name);
  }

  /** @param {SourceName} name */
  stopNode(name) {
    const running = this.running.get(name);
    if (!running) return;
    running.node.onended = null;
    running.node.stop();
    running.node.disconnect();
    running.gain.disconnect();
    this.running.delete(name);
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
   * Returns the gain with which a sound is played: 1, or what makes it as loud as the original over what is played.
   * @param {SourceName} name
   * @returns {{gain: number, db: number, short_db: number}}
   */
  gainOf(name) {
    const [sound, original] = [this.ready.get(name), this.ready.get("original")];
    if (!this.matched || !sound || !original || name === "original") return { gain: 1, db: 0, short_db: 0 };
    return matchingGain(sound, original, this.span);
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
