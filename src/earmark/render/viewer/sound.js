// Sound: unpacking what the page holds, and the band filter behind "play this box".

const MOST_MATCH_DB = 40;
const FULL = 0.99; // the peak that a matched sound may reach

/**
 * A box in time and frequency.
 * @typedef {{start_s: number, end_s: number, low_hz: number, high_hz: number}} Box
 */

/**
 * Samples with a rate; `start_s` says where they begin in the clip that they are of.
 * @typedef {{channels: Float32Array[], rate: number, start_s: number}} Sound
 */

/**
 * A sound as it lies in the page: base64 of a FLAC or Ogg file.
 * @typedef {{data: string, rate: number, start_s: number}} PackedSound
 */

/**
 * Returns the bytes of base64 text.
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
function bytesOf(text) {
  const plain = atob(text);
  const bytes = new Uint8Array(plain.length);
  for (let i = 0; i < plain.length; i++) bytes[i] = plain.charCodeAt(i);
  return bytes;
}

/**
 * Returns the bytes of base64 text that zlib compressed.
 * @param {string} text
 * @returns {Promise<Uint8Array>}
 */
async function inflated(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * Returns a packed sound decoded at its own rate, so that no resampling touches it.
 * @param {PackedSound} packed
 * @returns {Promise<Sound>}
 */
async function decoded(packed) {
  const context = new OfflineAudioContext(1, 1, packed.rate);
  const buffer = await context.decodeAudioData(bytesOf(packed.data).buffer);
  const channels = [];
  for (let i = 0; i < buffer.numberOfChannels; i++) channels.push(buffer.getChannelData(i));
  return { channels, rate: packed.rate, start_s: packed.start_s };
}

/** @type {WeakMap<Sound, AudioBuffer>} */
const BUFFERS = new WeakMap();

/**
 * Returns a sound as nodes take it; it is copied only once.
 * @param {BaseAudioContext} context
 * @param {Sound} sound
 * @returns {AudioBuffer}
 */
function bufferOf(context, sound) {
  const known = BUFFERS.get(sound);
  if (known) return known;
  const buffer = context.createBuffer(sound.channels.length, sound.channels[0].length, sound.rate);
  sound.channels.forEach((samples, c) => buffer.copyToChannel(/** @type {Float32Array<ArrayBuffer>} */ (samples), c));
  BUFFERS.set(sound, buffer);
  return buffer;
}

/**
 * Returns one sound minus another, sample by sample.
 * @param {Sound} whole
 * @param {Sound} part
 * @returns {Sound}
 */
function minus(whole, part) {
  const channels = whole.channels.map((samples, c) => samples.map((value, i) => value - part.channels[c][i]));
  return { ...whole, channels };
}

/**
 * Returns the largest absolute sample, and the root mean square of a span of seconds.
 * @param {Sound} sound
 * @param {number} start_s
 * @param {number} end_s
 * @returns {{peak: number, rms: number}}
 */
function loudness(sound, start_s, end_s) {
  const first = Math.max(0, Math.floor((start_s - sound.start_s) * sound.rate));
  const last = Math.min(sound.channels[0].length, Math.ceil((end_s - sound.start_s) * sound.rate));
  let peak = 0;
  let power = 0;
  for (const samples of sound.channels) {
    for (let i = first; i < last; i++) {
      peak = Math.max(peak, Math.abs(samples[i]));
      power += samples[i] * samples[i];
    }
  }
  return { peak, rms: Math.sqrt(power / Math.max(1, (last - first) * sound.channels.length)) };
}

/**
 * Returns the gain that makes a sound as loud as another (root mean square over a span of seconds), at most 40 dB and
 * never so much that it would clip; `short_db` is what is then missing.
 * @param {Sound} sound
 * @param {Sound} other
 * @param {[number, number]} span
 * @returns {{gain: number, db: number, short_db: number}}
 */
function matchingGain(sound, other, span) {
  const { rms, peak } = loudness(sound, ...span);
  const wanted = loudness(other, ...span).rms / rms;
  if (rms < 1e-7 || wanted === 0) return { gain: 1, db: 0, short_db: 0 };
  const gain = Math.min(wanted, Math.max(1, FULL / peak), 10 ** (MOST_MATCH_DB / 20));
  return { gain, db: 20 * Math.log10(gain), short_db: Math.max(0, 20 * Math.log10(wanted / gain)) };
}

/** A fast Fourier transform of one size, a power of two; `inverse` leaves out the division by the size. */
class Fft {
  /** @param {number} size */
  constructor(size) {
    this.size = size;
    this.cos = Float64Array.from({ length: size / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / size));
    this.sin = Float64Array.from({ length: size / 2 }, (_, i) => Math.sin((2 * Math.PI * i) / size));
    this.order = new Uint32Array(size);
    for (let i = 1; i < size; i++) this.order[i] = (this.order[i >> 1] >> 1) | (i & 1 ? size >> 1 : 0);
  }

  /**
   * Transforms in place.
   * @param {Float64Array} real
   * @param {Float64Array} imag
   * @param {boolean} inverse
   */
  run(real, imag, inverse) {
    const { size, cos, sin, order } = this;
    for (let i = 0; i < size; i++) {
      const j = order[i];
      if (j > i) [real[i], real[j], imag[i], imag[j]] = [real[j], real[i], imag[j], imag[i]];
    }
    for (let half = 1; half < size; half *= 2) {
      const step = size / (2 * half);
      for (let start = 0; start < size; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const turn = k * step;
          const c = cos[turn];
          const s = inverse ? sin[turn] : -sin[turn];
          const a = start + k;
          const b = a + half;
          const re = real[b] * c - imag[b] * s;
          const im = real[b] * s + imag[b] * c;
          real[b] = real[a] - re;
          imag[b] = imag[a] - im;
          real[a] += re;
          imag[a] += im;
        }
      }
    }
  }
}

/**
 * Returns half a cosine from 0 to 1.
 * @param {number} share
 */
function eased(share) {
  return 0.5 - 0.5 * Math.cos(Math.PI * Math.min(1, Math.max(0, share)));
}

/**
 * Returns the gain at a place for an interval with smooth edges: raised cosines centered on its borders, half as wide
 * as itself, but never wider than twice the way to the end; where it ends with 0 or `end`, it has no edge.
 * (The same as `masking.region_gain` of the library.)
 * @param {number} at
 * @param {number} low
 * @param {number} high
 * @param {number} end
 */
function windowGain(at, low, high, end) {
  const half = Math.max((high - low) / 2, 1e-9);
  let gain = 1;
  if (low > 0) gain *= eased((at - low) / Math.min(half, 2 * low) + 0.5);
  if (high < end) gain *= eased((high - at) / Math.min(half, 2 * (end - high)) + 0.5);
  return gain;
}

/**
 * Returns what boxes let through of a sound, of the same length: an STFT of the sound (periodic Hann window, hop of a
 * quarter), a gain in [0, 1] on it, and its inverse with the sound's own phase. Of overlapping boxes the larger gain
 * counts.
 * @param {Sound} sound
 * @param {Box[]} boxes
 * @param {number} duration_s of the clip that the sound is of, or is a part of
 * @param {number} window_s about how long the window is
 * @returns {Sound}
 */
function keptInBoxes(sound, boxes, duration_s, window_s) {
  const { rate } = sound;
  const size = 2 ** Math.min(13, Math.max(6, Math.round(Math.log2(window_s * rate))));
  const hop = size / 4;
  const fft = new Fft(size);
  const hann = Float64Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
  const rows = boxes.map((box) =>
    Float64Array.from({ length: size / 2 + 1 }, (_, i) =>
      windowGain((i * rate) / size, box.low_hz, box.high_hz, rate / 2)));
  const length = sound.channels[0].length;
  const channels = sound.channels.map(() => new Float32Array(length));
  const real = new Float64Array(size);
  const imag = new Float64Array(size);
  for (let center = -hop; center < length + size / 2; center += hop) {
    const seconds = sound.start_s + center / rate;
    const columns = boxes.map((box) => windowGain(seconds, box.start_s, box.end_s, duration_s));
    if (columns.every((gain) => gain === 0)) continue;
    for (let c = 0; c < channels.length; c += 2) {
      framed(sound.channels, c, center - size / 2, hann, real, imag);
      fft.run(real, imag, false);
      for (let i = 0; i <= size / 2; i++) {
        let gain = 0;
        for (let b = 0; b < boxes.length; b++) gain = Math.max(gain, rows[b][i] * columns[b]);
        real[i] *= gain;
        imag[i] *= gain;
        if (i > 0 && i < size / 2) {
          real[size - i] *= gain;
          imag[size - i] *= gain;
        }
      }
      fft.run(real, imag, true);
      overlapAdded(channels[c], real, center - size / 2, hann);
      if (channels[c + 1]) overlapAdded(channels[c + 1], imag, center - size / 2, hann);
    }
  }
  return { ...sound, channels };
}

/**
 * Puts a windowed frame of two channels into the real and the imaginary part: a gain that is the same at both signs of
 * a frequency keeps them apart.
 * @param {Float32Array[]} channels
 * @param {number} c
 * @param {number} start
 * @param {Float64Array} hann
 * @param {Float64Array} real
 * @param {Float64Array} imag
 */
function framed(channels, c, start, hann, real, imag) {
  const left = channels[c];
  const right = channels[c + 1];
  for (let i = 0; i < hann.length; i++) {
    const at = start + i;
    const inside = at >= 0 && at < left.length;
    real[i] = inside ? left[at] * hann[i] : 0;
    imag[i] = inside && right ? right[at] * hann[i] : 0;
  }
}

/**
 * Adds a frame; squared Hann windows a quarter apart sum to 1.5.
 * @param {Float32Array} out
 * @param {Float64Array} frame
 * @param {number} start
 * @param {Float64Array} hann
 */
function overlapAdded(out, frame, start, hann) {
  const scale = 1 / (1.5 * frame.length);
  const last = Math.min(frame.length, out.length - start);
  for (let i = Math.max(0, -start); i < last; i++) out[start + i] += frame[i] * hann[i] * scale;
}

/**
 * Returns the part of a sound around boxes, with room for their smooth edges.
 * @param {Sound} sound
 * @param {Box[]} boxes
 * @returns {Sound}
 */
function excerptOf(sound, boxes) {
  const [start_s, end_s] = spanOf(boxes);
  const first = Math.max(0, Math.floor((start_s - sound.start_s) * sound.rate));
  const last = Math.max(first + 1, Math.ceil((end_s - sound.start_s) * sound.rate));
  const channels = sound.channels.map((samples) => samples.slice(first, last));
  return { channels, rate: sound.rate, start_s: sound.start_s + first / sound.rate };
}

/**
 * Returns the seconds in which boxes are heard: their smooth edges reach a quarter of their length beyond them.
 * @param {Box[]} boxes
 * @returns {[number, number]}
 */
function spanOf(boxes) {
  const starts = boxes.map((box) => box.start_s - 0.25 * (box.end_s - box.start_s));
  const ends = boxes.map((box) => box.end_s + 0.25 * (box.end_s - box.start_s));
  return [Math.max(0, Math.min(...starts) - 0.05), Math.max(...ends) + 0.05];
}
