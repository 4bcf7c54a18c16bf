import { isCidr } from '../../addresses.ts';

/** A port from 1 to 65535, as text. */
export const portPattern = /^(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])$/;

/** Namespaces are matched whole: what Istio's regular expression would make of other characters is nothing to rely on. */
export const namespacePattern = /^(?:\*|\*?[-\w.]+|[-\w.]+\*)$/;

/** An address or CIDR that a peer can be held against; their addresses are never IPv4 in the form of IPv6. */
export function isBlock(block: string): boolean {
  return isCidr(block) && !/^::ffff:.*\./i.test(block);
}
