import { parseRange } from '../prefix-table.ts';

/**
 * What all addresses of a block begin with when they are written as a mark of their family and their bits, so that a CIDR is a prefix
 * like any other: of `address/prefix`, or of a bare address all of it. Undefined for what is neither. IPv4 and IPv6 never hold each
 * other, `::/0` holds no IPv4 address either.
 */
export function addressBits(block: string): string | undefined {
  const range = parseRange(block);
  if (range === undefined) return undefined;
  const { family, prefix, length } = range;
  return length === 0 ? `${family}` : `${family}${prefix.toString(2).padStart(length, '0')}`;
}
