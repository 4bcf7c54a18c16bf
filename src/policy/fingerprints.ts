import type { Pattern } from './pattern.ts';

/*
 * Numbers of 32 bits for patterns. Those of all patterns that match a value come from one walk over it in each direction, however
 * many patterns there are. Two patterns may share one: it says where to look, never what matches.
 */

/** FNV-1a's. */
const prime = 0x01000193;
const [exactly, asPrefix, asSuffix] = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d];

/** The fingerprint of two things in this order. */
export function mixed(first: number, second: number): number {
  // The last steps of MurmurHash3, so that each bit of either moves all of the result.
  let hash = Math.imul(first, 31) ^ second;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

/** The patterns of one kind of text. */
export interface Fingerprints {
  /** That of a pattern, which `matching` finds from now on. */
  add(pattern: Pattern): number;
  /** Those of all patterns that match, and now and then another one. */
  matching(value: string): readonly number[];
}

/** `seed` tells the patterns of one kind of text from those of another. */
export function createFingerprints(seed: number): Fingerprints {
  // Whether there are prefixes and suffixes of a length.
  const prefixes = createLengths();
  const suffixes = createLengths();
  return {
    add({ how, text }) {
      if (how === 'suffix') {
        suffixes.add(text.length);
        let hash = seed;
        for (let at = text.length - 1; at >= 0; at -= 1) hash = Math.imul(hash ^ text.charCodeAt(at), prime);
        return mixed(hash, asSuffix);
      }
      if (how === 'prefix') prefixes.add(text.length);
      let hash = seed;
      for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), prime);
      return mixed(hash, how === 'prefix' ? asPrefix : exactly);
    },
    matching(value) {
      const found: number[] = [];
      const { length } = value;
      let hash = seed;
      for (let at = 0; at < length; at += 1) {
        if (prefixes.has(at)) found.push(mixed(hash, asPrefix));
        hash = Math.imul(hash ^ value.charCodeAt(at), prime);
      }
      if (prefixes.has(length)) found.push(mixed(hash, asPrefix));
      found.push(mixed(hash, exactly));
      hash = seed;
      for (let at = length - 1; at >= 0 && suffixes.longest() > length - 1 - at; at -= 1) {
        hash = Math.imul(hash ^ value.charCodeAt(at), prime);
        if (suffixes.has(length - at)) found.push(mixed(hash, asSuffix));
      }
      return found;
    },
  };
}

function createLengths() {
  let isThere = new Uint8Array(64);
  let longest = 0;
  return {
    add(length: number) {
      longest = Math.max(longest, length);
      if (length >= isThere.length) {
        const larger = new Uint8Array(length * 2);
        larger.set(isThere);
        isThere = larger;
      }
      isThere[length] = 1;
    },
    has: (length: number) => isThere[length] === 1,
    longest: () => longest,
  };
}
