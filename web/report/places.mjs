// @ts-check
// Arithmetic of the media views, without a page: how light is scaled, which tokens are one note.

/** What is left of a picture where no light falls. */
export const kDimmed = 0.22;

/** Where on a square-root scale up to `most`, 0..1. @param {number} w @param {number} most */
export function lightOf(w, most) { return most > 0 ? Math.sqrt(Math.min(1, Math.max(0, w / most))) : 0; }

/** Runs of one pitch in one voice. @param {(import('./data.mjs').Label)[]} labels @param {(number | null)[]} values */
export function notesOf(labels, values) {
  /** @type {{voice: number, from: number, to: number, pitch: number}[]} */
  const notes = [];
  /** @type {Map<number, {voice: number, from: number, to: number, pitch: number}>} */
  const last = new Map();
  labels.forEach((label, j) => {
    const pitch = values[j];
    if (label.special || pitch === null || pitch === undefined) return;
    const open = last.get(label.row);
    if (open && open.pitch === pitch && open.to === label.column) open.to = label.column + 1;
    else if (pitch < 0) last.delete(label.row);
    else {
      const note = { voice: label.row, from: label.column, to: label.column + 1, pitch };
      notes.push(note);
      last.set(label.row, note);
    }
  });
  return notes;
}
