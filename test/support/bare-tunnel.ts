import type { Socket } from 'node:net';
import type { Clock } from '../../src/clock.ts';
import type { Proof } from '../../src/proxy/proof.ts';
import type { Proofs } from '../../src/proxy/proofs.ts';
import type { OnGivenUp } from '../../src/proxy/transport/hbone/given-up.ts';
import type { TunnelKey } from '../../src/proxy/transport/hbone/pool.ts';
import type { ServedTunnel, StreamRequest } from '../../src/proxy/transport/hbone/serve.ts';
import { serveTunnel } from '../../src/proxy/transport/hbone/serve.ts';
import type { Tunnel } from '../../src/proxy/transport/hbone/tunnel.ts';
import { startTunnel } from '../../src/proxy/transport/hbone/tunnel.ts';
import type { MutualTls } from '../../src/proxy/transport/tls.ts';
import { tunnelLimits } from './tunnel-limits.ts';

/** Tunnels whose proofs nobody asks for. */
const noProofs = { open: () => ({ close: () => undefined }) as unknown as Proof } as unknown as Proofs;

/** Nobody has proved anything. */
const strangers = { peer: { spiffeId: {} }, local: { spiffeId: {} }, ends: {} };

/** The client end of a tunnel on a connection without TLS, for what TLS has no part in. */
export function startBareTunnel(
  socket: Socket,
  {
    clock,
    onClose = () => undefined,
    onGivenUp = () => undefined,
  }: { readonly clock: Clock; onClose?(): void; readonly onGivenUp?: OnGivenUp },
  signal: AbortSignal,
): Promise<Tunnel> {
  const parts = { clock, proofs: noProofs, onClose, onGivenUp };
  return startTunnel({} as TunnelKey, { ...strangers, socket } as unknown as MutualTls, parts, tunnelLimits, signal);
}

/** The server end. */
export function serveBareTunnel(
  socket: Socket,
  clock: Clock,
  onRequest: (request: StreamRequest) => void,
  signal: AbortSignal,
): Promise<ServedTunnel> {
  const requests = { onRequest, onProof: () => undefined, onGivenUp: () => undefined };
  return serveTunnel({ socket } as unknown as MutualTls, clock, tunnelLimits, requests, signal);
}
