import type { AddressRange } from '../../prefix-table.ts';
import { holdsRange, parseRange } from '../../prefix-table.ts';

/** A port from 1 to 65535, as text. */
export const portPattern = /^(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])$/;

/** Namespaces are matched whole: what Istio's regular expression would make of other characters is nothing to rely on. */
export const namespacePattern = /^(?:\*|\*?[-\w.]+|[-\w.]+\*)$/;

const mapped = parseRange('::ffff:0:0/96') as AddressRange;

/**
 * An address or a CIDR that a peer or a destination can be held against; undefined for every other text. Addresses of IPv4 are
 * never in the form of IPv6, so that a range of such would hold nobody.
 */
export function blockRange(block: string): AddressRange | undefined {
  const range = parseRange(block);
  return range === undefined || holdsRange(mapped, range) ? undefined : range;
}
