import * as dns from 'node:dns/promises';
import { canonicalIp } from '../../addresses.ts';
import { hasFreeDescriptor } from '../../descriptors.ts';
import { ConnectionError, DeniedError, messageOf } from '../../errors.ts';
import { abortable } from '../deadline.ts';

/** One address of a host name; what the C library finds first. Rejects when there is none. */
export type LookupName = (name: string) => Promise<{ readonly address: string }>;

/** Names of hosts, looked up. */
export interface Names {
  /** `signal` ends the wait with its reason. Throws `ConnectionError`, and `DeniedError` when there is no descriptor. */
  ipOf(host: string, signal: AbortSignal): Promise<string>;
}

/**
 * Nothing is remembered: a name is looked up at each connection. But a lookup cannot be ended, and each keeps a thread of
 * Node.js for as long as its resolver does not answer, so there is one at a time for each name, for all who wait for it.
 */
export function createNames(lookup: LookupName = dns.lookup): Names {
  const running = new Map<string, Promise<string>>();

  const begin = (host: string): Promise<string> => {
    const lookingUp = ipOf(host, lookup).finally(() => running.delete(host));
    running.set(host, lookingUp);
    return lookingUp;
  };

  return {
    async ipOf(host, signal) {
      return canonicalIp(host) ?? (await abortable(running.get(host) ?? begin(host), signal));
    },
  };
}

async function ipOf(host: string, lookup: LookupName): Promise<string> {
  try {
    const { address } = await lookup(host);
    return canonicalIp(address) ?? address;
  } catch (error) {
    // Without descriptors the C library cannot read its files, and says that there is no such name.
    if (!hasFreeDescriptor())
      throw new DeniedError('descriptor_limit', `The name ${host} could not be looked up`, { cause: error });
    throw new ConnectionError('upstream_unreachable', `The name ${host} was not found: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
