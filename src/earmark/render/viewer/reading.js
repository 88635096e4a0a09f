// What lies under the pointer: time, frequency, level.

/**
 * A place in the picture: shares from the left and from the bottom, and what lies there.
 * @typedef {{x: number, y: number, seconds: number, hz: number}} Place
 */

/**
 * Returns where an event happened, or the nearest place in the picture.
 * @param {DOMRect} bounds of the picture
 * @param {Axes} axes
 * @param {MouseEvent} event
 * @returns {Place}
 */
function placeIn(bounds, axes, event) {
  const x = Math.min(1, Math.max(0, (event.clientX - bounds.left) / bounds.width));
  const y = Math.min(1, Math.max(0, 1 - (event.clientY - bounds.top) / bounds.height));
  return { x, y, seconds: axes.seconds(x), hz: axes.hz(y) };
}

/**
 * Returns the level of the nearest cell of a spectrogram, in decibels relative to its maximum.
 * @param {Values} spectrogram
 * @param {Place} place
 */
function levelAt({ rows, columns, values, hz_step = 1, step_s = 1 }, { seconds, hz }) {
  const row = Math.min(rows - 1, Math.round(hz / hz_step));
  const column = Math.min(columns - 1, Math.round(seconds / step_s));
  return (values[row * columns + column] - 255) / 2;
}

/**
 * Writes time, frequency and level beside the pointer.
 * @param {HTMLElement} element
 * @param {Values | null} spectrogram
 * @param {Place | null} place
 */
function readOut(element, spectrogram, place) {
  element.hidden = !place || !spectrogram;
  if (!place || !spectrogram) return;
  const { x, y, seconds, hz } = place;
  const level = levelAt(spectrogram, place);
  const db = level <= -127.5 ? "below −127 dB" : `${level.toFixed(1).replace("-", "−")} dB`;
  element.textContent = `${seconds.toFixed(3)} s, ${hzText(Math.round(hz))}, ${db}`;
  const across = x < 0.5 ? `left:calc(${100 * x}% + 14px)` : `right:calc(${100 - 100 * x}% + 10px)`;
  const up = y < 0.5 ? `bottom:calc(${100 * y}% + 10px)` : `top:calc(${100 - 100 * y}% + 14px)`;
  element.style.cssText = `${across};${up}`;
}
