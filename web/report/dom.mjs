// @ts-check
// Making elements. Text goes in as text only, never as markup: what the page shows was written by others.

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag @param {Record<string, any>} [set] attributes; on* are listeners
 * @param {...Child} children @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, set = {}, ...children) {
  const made = document.createElement(tag);
  dress(made, set, children);
  return made;
}

/**
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag @param {Record<string, any>} [set] @param {...Child} children @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, set = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  dress(made, set, children);
  return made;
}

/** @param {Element} made @param {Record<string, any>} set @param {Child[]} children */
function dress(made, set, children) {
  for (const [name, value] of Object.entries(set)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? '' : String(value));
  }
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    made.append(child instanceof Node ? child : String(child));
  }
}

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`[page] expected an element ${id}`);
  return found;
}

/** Cuts a long text in the middle of nothing: keeps its beginning. @param {string} text @param {number} most */
export function short(text, most) {
  const letters = [...text];
  return letters.length > most ? letters.slice(0, most - 1).join('') + '…' : text;
}

const measuring = document.createElement('canvas').getContext('2d');

/** Width of a text in px. @param {string} text @param {string} font */
export function textWidth(text, font) {
  if (!measuring) return text.length * 9;
  measuring.font = font;
  return measuring.measureText(text).width;
}

export const kFont = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif';
