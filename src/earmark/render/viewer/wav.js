// Sounds as WAV files.

const FULL_SCALE = 2 ** 23; // of 24 bit

/**
 * Returns a sound as a WAV file of 24 bit; samples beyond full scale are clipped.
 * @param {Sound} sound
 * @returns {Blob}
 */
function wavOf({ channels, rate }) {
  const length = channels[0].length;
  const samples = new DataView(new ArrayBuffer(3 * channels.length * length));
  for (let i = 0, at = 0; i < length; i++) {
    for (const channel of channels) {
      const value = Math.max(-FULL_SCALE, Math.min(FULL_SCALE - 1, Math.round(FULL_SCALE * channel[i])));
      samples.setInt16(at, value & 0xffff, true);
      samples.setInt8(at + 2, value >> 16);
      at += 3;
    }
  }
  return new Blob([wavHeader(channels.length, rate, samples.byteLength), samples], { type: "audio/wav" });
}

/**
 * @param {number} n_channels
 * @param {number} rate
 * @param {number} n_bytes of samples
 * @returns {DataView<ArrayBuffer>}
 */
function wavHeader(n_channels, rate, n_bytes) {
  const header = new DataView(new ArrayBuffer(44));
  const write = (/** @type {number} */ at, /** @type {string} */ text) =>
    [...text].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  write(0, "RIFF");
  header.setUint32(4, 36 + n_bytes, true);
  write(8, "WAVEfmt ");
  header.setUint32(16, 16, true); // bytes of the format
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, n_channels, true);
  header.setUint32(24, rate, true);
  header.setUint32(28, 3 * n_channels * rate, true);
  header.setUint16(32, 3 * n_channels, true);
  header.setUint16(34, 24, true);
  write(36, "data");
  header.setUint32(40, n_bytes, true);
  return header;
}
