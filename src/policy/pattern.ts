import { addressBits } from './address-bits.ts';

/**
 * How the texts of a list are read: `pattern` is Istio's exact, `prefix*`, `*suffix` and `*`, `literal` has no star, and `block` is
 * an address or a CIDR. Every character is itself, byte for byte: a dot is a dot, and there are no regular expressions.
 */
export type Syntax = 'pattern' | 'literal' | 'block';

/** A text that a value must be, begin with or end in. The prefix that is empty is in everything that is there. */
export interface Pattern {
  readonly how: 'exact' | 'prefix' | 'suffix';
  readonly text: string;
}

/** Undefined only for a `block` that is no address and no CIDR. */
export function readPattern(text: string, syntax: Syntax): Pattern | undefined {
  switch (syntax) {
    case 'literal':
      return { how: 'exact', text };
    case 'block': {
      const bits = addressBits(text);
      return bits === undefined ? undefined : { how: 'prefix', text: bits };
    }
    case 'pattern':
      if (text === '*') return { how: 'prefix', text: '' };
      if (text.startsWith('*')) return { how: 'suffix', text: text.slice(1) };
      return text.endsWith('*') ? { how: 'prefix', text: text.slice(0, -1) } : { how: 'exact', text };
    default:
      return syntax satisfies never;
  }
}

export function isLike(value: string, { how, text }: Pattern): boolean {
  switch (how) {
    case 'exact':
      return value === text;
    case 'prefix':
      return value.startsWith(text);
    case 'suffix':
      return value.endsWith(text);
    default:
      return how satisfies never;
  }
}
