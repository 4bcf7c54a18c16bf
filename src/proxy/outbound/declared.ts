import type { Socket } from 'node:net';
import type { Address } from '../../addresses.ts';
import { ConnectionError } from '../../errors.ts';
import { admitDeclared } from '../../policy/admit.ts';
import { outcomeOf } from '../account.ts';
import { carry } from '../carry.ts';
import { cutWhileOpening, untilClosed, withDeadline } from '../deadline.ts';
import { resetSocket, socketLeg } from '../leg.ts';
import { takeConnection, takeSocket } from '../parts.ts';
import { peerAddressOf } from '../socket-ends.ts';
import { tuneSocket } from '../transport/connect.ts';
import type { OutboundParts, OutboundSettings } from './capture.ts';
import type { Names } from './names.ts';
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

type DeclaredParts = Omit<OutboundParts, 'registry' | 'originalDestination'> & { readonly names: Names };
type DeclaredSettings = Omit<OutboundSettings, 'meshNetworks' | 'rules'>;

/** One connection of a declared tunnel: look up, open, relay, account. No capture, no registry. */
export async function acceptDeclared(
  socket: Socket,
  { target, via, peer }: DeclaredTunnel,
  parts: DeclaredParts,
  settings: DeclaredSettings,
): Promise<void> {
  const account = parts.accounts.open({ direction: 'outbound', peerAddress: peerAddressOf(socket) });
  const downstream = socketLeg(socket);
  const untrack = parts.drain.track(() => resetSocket(socket, cutWhileOpening()));
  let release = () => {};
  try {
    takeSocket(socket, parts);
    tuneSocket(socket, settings);
    release = takeConnection(parts);
    const gone = untilClosed(socket);
    const address = await addressOf(target, parts, settings, gone);
    account.learned({ originalDestination: address });
    const viaAddress = via && (await addressOf(via, parts, settings, gone));
    const { leg, facts, proof } = await open(
      admitDeclared(address, viaAddress, peer),
      account.id,
      parts,
      settings,
      gone,
    );
    const carried = carry(account, { ...facts, originalDestination: address }, downstream, leg, parts, settings, {
      proof,
    });
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

/** Looks a name up, within the time that a connection may take. Throws `ConnectionError` and `DeniedError`. */
export async function addressOf(
  { host, port }: HostPort,
  { clock, names }: Pick<DeclaredParts, 'clock' | 'names'>,
  { connectTimeoutMs }: Pick<DeclaredSettings, 'connectTimeoutMs'>,
  outer: AbortSignal,
): Promise<Address> {
  const late = () => new ConnectionError('upstream_timeout', `The name ${host} was not looked up in time`);
  const ip = await withDeadline(clock, connectTimeoutMs, late, outer, (signal) => names.ipOf(host, signal));
  return { ip, port };
}
