import { lookup } from 'node:dns/promises';
import type { Socket } from 'node:net';
import type { Address } from '../../addresses.ts';
import { canonicalIp } from '../../addresses.ts';
import { hasFreeDescriptor } from '../../descriptors.ts';
import { ConnectionError, DeniedError, messageOf } from '../../errors.ts';
import { admitDeclared } from '../../policy/admit.ts';
import { outcomeOf } from '../account.ts';
import { carry } from '../carry.ts';
import { untilClosed } from '../deadline.ts';
import { resetSocket, socketLeg } from '../leg.ts';
import { holdDescriptor, takeConnection } from '../parts.ts';
import { tuneSocket } from '../transport/connect.ts';
import type { OutboundParts, OutboundSettings } from './capture.ts';
import { open } from './open.ts';

interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** A tunnel that was declared by hand: whoever connects to the listener reaches `host:port` as `peer` serves it. */
export interface DeclaredTunnel {
  readonly listen: Address;
  /** A name is looked up at each connection. */
  readonly target: HostPort;
  /** Where the far sidecar takes tunnels, when that is not the target's host on the usual port. */
  readonly via: HostPort | undefined;
  /** The SPIFFE ID that the far side must prove. */
  readonly peer: string;
}

/** One connection of a declared tunnel: look up, open, relay, account. No capture, no registry. */
export async function acceptDeclared(
  socket: Socket,
  { target, via, peer }: DeclaredTunnel,
  parts: Omit<OutboundParts, 'registry' | 'originalDestination'>,
  settings: Omit<OutboundSettings, 'meshNetworks' | 'rules'>,
): Promise<void> {
  const account = parts.accounts.open({ direction: 'outbound', peerAddress: socket.remoteAddress ?? 'unknown' });
  const untrack = parts.drain.track(() => resetSocket(socket));
  let release = () => {};
  try {
    holdDescriptor(socket, parts);
    tuneSocket(socket, settings);
    release = takeConnection(parts);
    const address = await addressOf(target);
    account.learned({ originalDestination: address });
    const { leg, facts } = await open(
      admitDeclared(address, via && (await addressOf(via)), peer),
      account.id,
      parts,
      settings,
      untilClosed(socket),
    );
    const carried = carry(account, { ...facts, originalDestination: address }, socketLeg(socket), leg, parts, settings);
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

async function addressOf({ host, port }: HostPort): Promise<Address> {
  const literal = canonicalIp(host);
  if (literal !== undefined) return { ip: literal, port };
  try {
    const { address } = await lookup(host);
    return { ip: canonicalIp(address) ?? address, port };
  } catch (error) {
    // Without descriptors the C library cannot read its files, and says that there is no such name.
    if (!hasFreeDescriptor())
      throw new DeniedError('descriptor_limit', `The name ${host} could not be looked up`, { cause: error });
    throw new ConnectionError('upstream_unreachable', `The name ${host} was not found: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
