/**
 * Chains of numbers by a key of 32 bits, in typed arrays: a million take tens of megabytes, and the collector of garbage looks at
 * none of them. Grows in slices, so that no single step is long.
 */
export interface Chains {
  /** Whether there is such a chain, perhaps an empty one. */
  has(key: number): boolean;
  /** The first entry of a chain, or 0; what was added last comes first. */
  first(key: number): number;
  /** The entry behind, or 0. */
  next(entry: number): number;
  valueAt(entry: number): number;
  /** Whether it has more entries than that. */
  isLongerThan(key: number, length: number): boolean;
  /** Of all chains. */
  keys(): Iterable<number>;
  /** Makes the chain when there is none. */
  touch(key: number): void;
  add(key: number, value: number): void;
  /** Whether there is no room for one more of anything. */
  isFull(): boolean;
  /** Makes room. Yields whenever it has done a slice. */
  grow(): Generator<void, void>;
  /** Of memory. */
  bytes(): number;
}

/** Slots that are moved before others have a turn: some 0.1 ms. */
const sliceSlots = 4096;

/** In the place of an entry. */
const [free, empty] = [0, -1];

export function createChains(): Chains {
  let keys = new Int32Array(64);
  let heads = new Int32Array(64);
  let [chains, entries] = [0, 0];
  let values = new Uint32Array(64);
  let nexts = new Uint32Array(64);

  // No more than three of four slots are taken, so that a key is found within a few.
  const isCrowded = () => chains >= keys.length * 0.75;

  /** The slot of a key, or the free one where it belongs. */
  const slotOf = (key: number): number => {
    const last = keys.length - 1;
    for (let slot = key & last; ; slot = (slot + 1) & last) if (heads[slot] === free || keys[slot] === key) return slot;
  };

  const touched = (key: number): number => {
    const slot = slotOf(key);
    if (heads[slot] !== free) return slot;
    keys[slot] = key;
    heads[slot] = empty;
    chains += 1;
    return slot;
  };

  function* moveTo(size: number): Generator<void, void> {
    const [oldKeys, oldHeads] = [keys, heads];
    keys = new Int32Array(size);
    heads = new Int32Array(size);
    for (let slot = 0; slot < oldKeys.length; slot += 1) {
      const [key = 0, head = free] = [oldKeys[slot], oldHeads[slot]];
      if (slot % sliceSlots === sliceSlots - 1) yield;
      if (head === free) continue;
      const to = slotOf(key);
      keys[to] = key;
      heads[to] = head;
    }
  }

  const first = (key: number) => Math.max(heads[slotOf(key)] ?? free, free);

  return {
    has: (key) => heads[slotOf(key)] !== free,
    first,
    next: (entry) => nexts[entry] ?? 0,
    valueAt: (entry) => values[entry] ?? 0,
    isLongerThan(key, length) {
      let entry = first(key);
      for (let left = length; left > 0 && entry !== 0; left -= 1) entry = nexts[entry] ?? 0;
      return entry !== 0;
    },
    *keys() {
      for (const [slot, head] of heads.entries()) if (head > free) yield keys[slot] ?? 0;
    },
    touch: (key) => void touched(key),
    add(key, value) {
      const slot = touched(key);
      entries += 1;
      values[entries] = value;
      nexts[entries] = Math.max(heads[slot] ?? free, free);
      heads[slot] = entries;
    },
    isFull: () => isCrowded() || entries + 1 >= values.length,
    *grow() {
      if (isCrowded()) yield* moveTo(keys.length * 2);
      if (entries + 1 < values.length) return;
      values = doubled(values);
      nexts = doubled(nexts);
    },
    bytes: () => keys.byteLength + heads.byteLength + values.byteLength + nexts.byteLength,
  };
}

function doubled(array: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(array.length * 2);
  larger.set(array);
  return larger;
}
