// JSON Merge Patch (RFC 7396): what leads from one document to another. null takes a name away.

const isObject = (one) => one !== null && typeof one === 'object' && !Array.isArray(one);
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

export function patchOf(before, after) {
  const patch = {};
  for (const name of Object.keys(before)) {
    if (!(name in after)) patch[name] = null;
  }
  for (const [name, value] of Object.entries(after)) {
    if (isObject(value) && isObject(before[name])) {
      const inner = patchOf(before[name], value);
      if (Object.keys(inner).length) patch[name] = inner;
    } else if (!same(value, before[name])) {
      patch[name] = value;
    }
  }
  return patch;
}
