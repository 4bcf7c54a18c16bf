import type { Socket } from 'node:net';
import type { Clock } from '../clock.ts';
import type { PolicyState } from '../control-api.ts';
import { DeniedError } from '../errors.ts';
import type { Identity } from '../identity/identity.ts';
import { remainingMs, whyOver } from '../identity/identity.ts';
import type { Revocations } from '../identity/revocations.ts';
import type { Drain } from '../lifecycle.ts';
import type { Log } from '../log.ts';
import type { Accounts, Observer } from './account.ts';
import type { PeerBook } from './peer-book.ts';
import type { RefusalLines } from './refusal-lines.ts';
import type { Slots } from './slots.ts';

/** What both directions need of the rest of the sidecar; settings are apart. Values are pulled at each use. */
export interface ProxyParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly accounts: Accounts;
  readonly observer: Observer;
  readonly refusals: RefusalLines;
  readonly drain: Drain;
  /** A place for each connection that is carried. */
  readonly connections: Slots;
  /** A place for each accepted socket, carried or not; undefined when descriptors are without a limit. */
  readonly descriptors?: Slots;
  /** Why nothing new may be taken for want of memory; undefined when nobody watches it. */
  readonly memory?: { shortage(): string | undefined };
  readonly identity: { current(): Identity };
  readonly revocations: { current(): Revocations };
  /** Told of every tunnel; undefined when nobody asks for it. */
  readonly peers?: PeerBook;
  readonly policy: { current(): PolicyState | undefined };
}

/** Our identity, if it may still be shown; throws `DeniedError`: after its end the sidecar fails closed. */
export function currentIdentity({ identity, clock }: Pick<ProxyParts, 'identity' | 'clock'>): Identity {
  const current = identity.current();
  if (remainingMs(current, clock.now()) <= 0) throw new DeniedError('identity_expired', whyOver(current));
  return current;
}

/** A place for one more connection; throws `DeniedError`. */
export function takeConnection({ connections, memory }: Pick<ProxyParts, 'connections' | 'memory'>): () => void {
  refuseWhenShortOf(memory);
  const release = connections.tryTake();
  if (release !== undefined) return release;
  const { inUse, capacity } = connections;
  throw new DeniedError('connection_limit', `${inUse} of at most ${capacity} connections are open`);
}

/** Counts an accepted socket until it is closed; throws `DeniedError` when there is no descriptor or no memory for what it asks for. */
export function takeSocket(socket: Socket, parts: Pick<ProxyParts, 'descriptors' | 'memory'>): void {
  const release = takeDescriptor(parts);
  if (release !== undefined) socket.once('close', release);
}

/** A place for one more accepted socket, undefined where there is no limit; throws as `takeSocket` does. */
export function takeDescriptor({
  descriptors,
  memory,
}: Pick<ProxyParts, 'descriptors' | 'memory'>): (() => void) | undefined {
  refuseWhenShortOf(memory);
  if (descriptors === undefined) return undefined;
  const release = descriptors.tryTake();
  if (release === undefined)
    throw new DeniedError('descriptor_limit', `${descriptors.inUse} sockets are open, all that nofile has room for`);
  return release;
}

/** Also for an accepted socket: a handshake costs more than many a connection. */
function refuseWhenShortOf(memory: ProxyParts['memory']): void {
  const shortage = memory?.shortage();
  if (shortage !== undefined) throw new DeniedError('memory_pressure', shortage);
}
