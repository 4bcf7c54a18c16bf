import type { Socket } from 'node:net';
import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import { ConnectionError, DeniedError } from '../../errors.ts';
import type { OutboundRules } from '../../policy/admit.ts';
import { admit } from '../../policy/admit.ts';
import type { PermittedEndpoint } from '../../policy/permit.ts';
import { captureProbe } from '../../ports.ts';
import type { Account } from '../account.ts';
import { outcomeOf } from '../account.ts';
import { carry } from '../carry.ts';
import { cutWhileOpening, untilClosed } from '../deadline.ts';
import { resetSocket, socketLeg } from '../leg.ts';
import type { ProxyParts } from '../parts.ts';
import { takeConnection, takeSocket } from '../parts.ts';
import type { RelayLimits } from '../relay.ts';
import { peerAddressOf } from '../socket-ends.ts';
import { tuneSocket } from '../transport/connect.ts';
import type { Opened, OpenParts, OpenSettings } from './open.ts';
import { open } from './open.ts';
import type { Registry, ResolveSettings } from './resolve.ts';
import { resolve } from './resolve.ts';

export interface OutboundParts extends ProxyParts, OpenParts {
  readonly registry: Registry;
  /** Where a captured connection was going; undefined when the kernel does not know. */
  originalDestination(socket: Socket): Address | undefined;
}

export interface OutboundSettings extends RelayLimits, OpenSettings, ResolveSettings {
  readonly rules: OutboundRules;
  /** The sidecar's own ports: nobody is reached on them through a sidecar. */
  readonly reservedPorts: ReadonlySet<number>;
  /** What the listener answers to whoever dials the capture probe: proof that it was this process that captured it. */
  readonly probeAnswer: string;
}

/** One captured outbound connection, port 15001: original destination, resolve, admit, open, relay, account. */
export async function acceptOutbound(socket: Socket, parts: OutboundParts, settings: OutboundSettings): Promise<void> {
  tuneSocket(socket, settings);
  const originalDestination = parts.originalDestination(socket);
  if (originalDestination !== undefined && isProbe(originalDestination))
    return void socket.resume().end(settings.probeAnswer, () => socket.destroySoon());
  const account = parts.accounts.open({ direction: 'outbound', peerAddress: peerAddressOf(socket) });
  await carryOutbound(socket, account, originalDestination, parts, settings);
}

async function carryOutbound(
  socket: Socket,
  account: Account,
  originalDestination: Address | undefined,
  parts: OutboundParts,
  settings: OutboundSettings,
): Promise<void> {
  const downstream = socketLeg(socket);
  const untrack = parts.drain.track(() => resetSocket(socket, cutWhileOpening()));
  let release = () => {};
  try {
    takeSocket(socket, parts);
    if (originalDestination === undefined)
      throw new DeniedError('no_original_destination', 'The kernel knows no original destination');
    account.learned({ originalDestination });
    refuseSelfCall(originalDestination, settings.reservedPorts);
    release = takeConnection(parts);
    const gone = untilClosed(socket);
    const resolution = await resolve(originalDestination, parts, settings, gone);
    const permit = admit(originalDestination, resolution, settings.rules);
    const opened = await open(permit, account.id, parts, settings, gone);
    if (opened.proof === undefined) await confirmClear(opened, originalDestination, parts, settings, gone);
    const { leg, facts, proof } = opened;
    const carried = carry(account, { ...facts, originalDestination }, downstream, leg, parts, settings, { proof });
    untrack();
    await carried;
  } catch (error) {
    resetSocket(socket);
    account.close(outcomeOf(error));
  } finally {
    untrack();
    release();
  }
}

/**
 * What goes in clear is decided again right before its first byte: while it was dialled, a policy may have arrived that registers it,
 * or the registry may have learned of a sidecar there. Throws, and leaves nothing open, when it may not go as it was opened any more.
 */
async function confirmClear(
  { leg, facts }: Opened,
  originalDestination: Address,
  parts: OutboundParts,
  settings: OutboundSettings,
  gone: AbortSignal,
): Promise<void> {
  try {
    const resolution = await resolve(originalDestination, parts, settings, gone);
    const { endpoints, leaving = [] } = admit(originalDestination, resolution, settings.rules);
    const name = formatAddress(facts.endpoint ?? originalDestination);
    const isSame = ({ transport, address }: PermittedEndpoint) =>
      transport === 'plaintext' && formatAddress(address) === name;
    if (!endpoints.some(isSame) && !leaving.some(isSame))
      throw new ConnectionError('policy_change', `${name} may not be reached in plaintext any more`);
  } catch (error) {
    leg.stream.destroy();
    throw error;
  }
}

/** Whether the sidecar itself answers whoever dials it. */
export function isProbe({ ip, port }: Address): boolean {
  const isProbePort = port === captureProbe.port || port === captureProbe.identityPort;
  return isProbePort && (ip === captureProbe.v4 || ip === captureProbe.v6);
}

/** Throws `DeniedError`. */
export function refuseSelfCall(destination: Address, reservedPorts: ReadonlySet<number>): void {
  if (reservedPorts.has(destination.port)) {
    throw new DeniedError('self_call', `${formatAddress(destination)} is a port of a sidecar`);
  }
}
