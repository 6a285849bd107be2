// @ts-check
// Badges of roles: a letter in a shape, the same everywhere. Dashed circle: no role is known.
import { svg, kFont } from './dom.mjs';

/** @param {string} shape @param {number} r @returns {SVGElement} outline around 0,0 */
function outline(shape, r) {
  const points = (/** @type {number} */ n, /** @type {number} */ turn, /** @type {number} */ size) => Array.from({ length: n }, (_, i) => {
    const angle = turn + i * 2 * Math.PI / n;
    return `${(size * Math.cos(angle)).toFixed(2)},${(size * Math.sin(angle)).toFixed(2)}`;
  }).join(' ');
  switch (shape) {
    case 'square': return svg('rect', { x: -r * 0.88, y: -r * 0.88, width: r * 1.76, height: r * 1.76, rx: 2 });
    case 'triangle': return svg('polygon', { points: points(3, -Math.PI / 2, r * 1.25), transform: `translate(0 ${r * 0.2})` });
    case 'hexagon': return svg('polygon', { points: points(6, 0, r * 1.05) });
    default: return svg('circle', { r });
  }
}

/** @param {{shape: string, letter: string} | null} role @param {number} size px @param {string} ink @param {string} paper */
export function badge(role, size, ink, paper) {
  const shape = outline(role?.shape ?? 'unknown', 9);
  shape.setAttribute('fill', role ? ink : 'none');
  shape.setAttribute('stroke', ink);
  shape.setAttribute('stroke-width', '1.4');
  if (!role) shape.setAttribute('stroke-dasharray', '3 2.5');
  const letter = svg('text', {
    'text-anchor': 'middle', y: role?.shape === 'triangle' ? 5.5 : 4, 'font-size': 11, 'font-weight': 700, 'font-family': kFont,
    fill: role ? paper : ink,
  }, role ? [...role.letter].slice(0, 1).join('') : '');
  return svg('svg', { width: size, height: size, viewBox: '-12 -12 24 24', class: 'badge', 'aria-hidden': 'true' }, shape, letter);
}
