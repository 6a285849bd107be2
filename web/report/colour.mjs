// @ts-check
// Colours of weights and signed values; see the design: one ramp a theme, diverging only for signed values.

/** @typedef {{dark: boolean, ink: string, soft: string, paper: string, line: string, out: string, in: string,
 *             ramp: Uint32Array, signed: Uint32Array, hatch: string}} Palette */

/** Hues of overlaid heads A..H, told apart by colour-blind eyes; always drawn with the letter. */
export const kHues = ['#0072B2', '#E69F00', '#009E73', '#CC79A7', '#D55E00', '#56B4E9', '#7A5195', '#8A8A00'];
export const kLetters = 'ABCDEFGH';

/** @param {string} hex @returns {number[]} OKLab */
function lab(hex) {
  const [r, g, b] = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16) / 255)
    .map(c => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s];
}

/** @param {number[]} colour OKLab @returns {number} 0xAABBGGRR as ImageData holds it */
function packed([L, a, b]) {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const [r, g, blue] = [4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s]
    .map(c => (c <= 0.0031308 ? 12.92 * c : 1.055 * Math.max(0, c) ** (1 / 2.4) - 0.055))
    .map(c => Math.round(255 * Math.min(1, Math.max(0, c))));
  return (255 << 24 | blue << 16 | g << 8 | r) >>> 0;
}

/** 256 colours through the stops, lightness in even steps. @param {string[]} stops */
function ramp(stops) {
  const labs = stops.map(lab);
  const span = [0];
  for (let i = 1; i < labs.length; i++) span.push(span[i - 1] + Math.abs(labs[i][0] - labs[i - 1][0]));
  const out = new Uint32Array(256);
  for (let c = 0; c < 256; c++) {
    const at = span[span.length - 1] * c / 255;
    let i = 1;
    while (i < span.length - 1 && at > span[i]) i++;
    const part = (at - span[i - 1]) / (span[i] - span[i - 1]);
    out[c] = packed(labs[i].map((x, axis) => labs[i - 1][axis] + part * (x - labs[i - 1][axis])));
  }
  return out;
}

/** @type {Palette[]} */
const palettes = [false, true].map(dark => ({
  dark,
  ink: dark ? '#ECECE6' : '#1B1B1F',
  soft: dark ? '#A9A9A4' : '#5C5B57',
  paper: dark ? '#121316' : '#FCFCFA',
  line: dark ? '#2A2C31' : '#E4E2DC',
  hatch: dark ? '#3A3D44' : '#CFCCC4',
  out: dark ? '#7FB2E5' : '#0B3C6F',
  in: dark ? '#E8965A' : '#B2541A',
  ramp: ramp(dark ? ['#121316', '#33608F', '#BFE3FF'] : ['#FCFCFA', '#7FB2E5', '#0B3C6F']),
  signed: ramp(dark ? ['#5AA0E8', '#121316'] : ['#2166AC', '#FCFCFA']),
}));
const above = [ramp(['#FCFCFA', '#B2541A']), ramp(['#121316', '#E8965A'])];
palettes.forEach((palette, at) => {
  const both = new Uint32Array(256);
  for (let c = 0; c < 256; c++) both[c] = c < 128 ? palette.signed[c * 2] : above[at][(c - 128) * 2 + 1];
  palette.signed = both;
});

/** @param {boolean} dark */
export function paletteOf(dark) { return palettes[dark ? 1 : 0]; }

/** Where a weight stands on the scale, 0..1: square root, or four decades. @param {number} w @param {boolean} log */
export function scaled(w, log) {
  if (!(w > 0)) return 0;
  if (!log) return Math.sqrt(Math.min(1, w));
  return Math.max(0, Math.min(1, 1 + Math.log10(w) / 4));
}

/** The weight that stands there: scaled, backwards. @param {number} at @param {boolean} log */
export function unscaled(at, log) { return log ? 10 ** (4 * (at - 1)) : at * at; }

/** @param {number} colour packed @returns {string} */
export function cssOf(colour) {
  return `rgb(${colour & 255} ${colour >> 8 & 255} ${colour >> 16 & 255})`;
}

/** @param {Palette} palette @param {number} w @param {boolean} log */
export function weightColour(palette, w, log) { return palette.ramp[Math.round(255 * scaled(w, log))]; }

/** Ink or paper, whichever can be read on a colour. @param {number} colour packed */
export function inkOn(colour) {
  const [r, g, b] = [colour & 255, colour >> 8 & 255, colour >> 16 & 255]
    .map(c => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? '#1B1B1F' : '#FFFFFF';
}

/** Paints weights as an image, one dot a cell. @param {HTMLCanvasElement} canvas @param {ArrayLike<number>} cells @param {number} rows @param {number} columns @param {(x: number) => number} colour */
export function paint(canvas, cells, rows, columns, colour) {
  canvas.width = Math.max(1, columns);
  canvas.height = Math.max(1, rows);
  const context = canvas.getContext('2d');
  if (!context || !rows || !columns) return;
  const image = context.createImageData(columns, rows);
  const dots = new Uint32Array(image.data.buffer);
  for (let c = 0; c < dots.length; c++) dots[c] = colour(cells[c]);
  context.putImageData(image, 0, 0);
}
