// How sure a share is: Wilson's 95 % interval, which stays within 0 and 1 and is honest for small counts.

const Z = 1.959964;

/** [low, high] of `hits` in `n`; null where nothing was counted. Answers of one person are not independent, so the true
 * interval is a little wider. */
export function wilson(hits, n) {
  if (!n) return null;
  const share = hits / n;
  const square = (Z * Z) / n;
  const middle = (share + square / 2) / (1 + square);
  const half = (Z * Math.sqrt((share * (1 - share)) / n + square / (4 * n))) / (1 + square);
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}
