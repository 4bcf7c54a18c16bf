import * as dns from 'node:dns/promises';
import { canonicalIp } from '../../addresses.ts';
import type { Clock } from '../../clock.ts';
import { messageOf } from '../../errors.ts';
import { abortable, withDeadline } from '../deadline.ts';

/** Every address of a host name, in the order in which an application gets them. Rejects when there is none. */
export type LookupAll = (name: string) => Promise<readonly { readonly address: string }[]>;

export type LookedUp =
  | { readonly kind: 'addresses'; readonly ips: readonly string[] }
  | { readonly kind: 'failed'; readonly why: string };

/** So many addresses of a name are explained. */
export const maxAddressesOfName = 8;

/**
 * Looks names up as an application would. One at a time, because a lookup whose resolver does not answer keeps a thread that
 * connections need too.
 */
export function createNameExplainer(
  clock: Clock,
  lookup: LookupAll = (name) => dns.lookup(name, { all: true }),
): (host: string, timeoutMs: number) => Promise<LookedUp> {
  let running: string | undefined;

  const lookUp = async (host: string): Promise<LookedUp> => {
    running = host;
    try {
      const found = await lookup(host);
      const ips = new Set(found.map(({ address }) => canonicalIp(address)).filter((ip) => ip !== undefined));
      return { kind: 'addresses', ips: [...ips].slice(0, maxAddressesOfName) };
    } catch (error) {
      return { kind: 'failed', why: `The name ${host} was not found: ${messageOf(error)}` };
    } finally {
      running = undefined;
    }
  };

  return async (host, timeoutMs) => {
    if (running !== undefined)
      return { kind: 'failed', why: `Another name, ${running}, is being looked up; ask again when that is done` };
    const late = () => new Error(`The name ${host} was not looked up within ${timeoutMs} ms`);
    const looking = lookUp(host);
    return withDeadline(clock, timeoutMs, late, undefined, (signal) => abortable(looking, signal)).catch(
      (error: unknown) => ({ kind: 'failed', why: messageOf(error) }),
    );
  };
}
