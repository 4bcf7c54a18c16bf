import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import type { Clock } from '../clock.ts';
import { messageOf } from '../errors.ts';
import { captureProbe } from '../ports.ts';
import type { HeldCapturePort, OccupiedCapturePort } from './capture-port.ts';

/** Whether outbound connections of one IP family are captured. */
export type Proof =
  | { readonly kind: 'proved' }
  /** The pod cannot leave by this family, so there is nothing to capture. */
  | { readonly kind: 'no_route' }
  | { readonly kind: 'failed'; readonly why: string };

export interface Proofs {
  readonly ipv4: Proof;
  readonly ipv6: Proof;
}

/** Of one dial; milliseconds. */
export const dialDeadlineMs = 3000;

/**
 * Dials an address that exists nowhere and expects to land on the capture port. Packets that are made locally never
 * meet PREROUTING, so inbound capture cannot be proved from inside.
 */
export async function proveOutbound(port: HeldCapturePort | OccupiedCapturePort, clock: Clock): Promise<Proofs> {
  const [ipv4, ipv6] = await Promise.all([
    proveFamily(captureProbe.v4, port, clock),
    proveFamily(captureProbe.v6, port, clock),
  ]);
  return { ipv4, ipv6 };
}

async function proveFamily(ip: string, port: HeldCapturePort | OccupiedCapturePort, clock: Clock): Promise<Proof> {
  return (await hasRoute(ip)) ? dial(ip, port, clock) : { kind: 'no_route' };
}

/**
 * Asks the kernel without sending anything: connecting a datagram socket only looks the route up. The error of a TCP
 * dial would not tell, because a router of the network answers an uncaptured dial with the same one.
 */
function hasRoute(ip: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(ip) ? 'udp6' : 'udp4');
    const answer = (found: boolean) => {
      socket.close();
      resolve(found);
    };
    socket.once('error', () => answer(false));
    socket.once('connect', () => answer(!isLinkLocal(socket.address().address)));
    socket.connect(captureProbe.port, ip);
  });
}

/** A pod whose only IPv6 addresses are of its link cannot speak to anyone beyond it, whatever routes were announced. */
function isLinkLocal(ip: string): boolean {
  return /^fe[89ab][0-9a-f]:/i.test(ip);
}

/**
 * Where the port is held by this process the connection must arrive there, with its destination still known. Where the
 * sidecar listens already, being connected has to do: nobody else answers for that address.
 */
async function dial(ip: string, port: HeldCapturePort | OccupiedCapturePort, clock: Clock): Promise<Proof> {
  const { promise, resolve } = Promise.withResolvers<Proof>();
  const failed = (why: string) => resolve({ kind: 'failed', why });
  if (port.kind === 'held') void port.landing(ip, captureProbe.port).then(() => resolve({ kind: 'proved' }));
  const socket = connect({ host: ip, port: captureProbe.port });
  socket.on('error', (error) => failed(messageOf(error)));
  socket.on('connect', () => {
    if (port.kind === 'occupied') resolve({ kind: 'proved' });
  });
  const timer = clock.after(dialDeadlineMs, () => failed(`it landed nowhere within ${dialDeadlineMs} ms`));
  const proof = await promise;
  timer.cancel();
  socket.destroy();
  return proof;
}
