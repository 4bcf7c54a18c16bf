import type { Socket } from 'node:net';
import { isIPv4 } from 'node:net';
import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import { ConnectionError } from '../../errors.ts';
import { resetOnClose, SystemCallError, socketBoundTo } from '../../libc.ts';
import type { InboundPermit } from '../../policy/permit.ts';
import { withDeadline } from '../deadline.ts';
import type { ProxyParts } from '../parts.ts';
import { takeConnection } from '../parts.ts';
import type { SocketOptions } from '../transport/connect.ts';
import { connected, openSocket } from '../transport/connect.ts';
import type { Dials } from './dials.ts';

/** The source address that the application sees. */
export const deliverySources = ['loopback', 'pod-address', 'unbound'] as const;
export type DeliverySource = (typeof deliverySources)[number];

export interface DeliverySettings extends SocketOptions {
  /** `loopback` (127.0.0.6 and ::6) tells the rules and the application that it was the sidecar; `pod-address` is for applications that trust 127.0.0.0/8. */
  readonly deliverFrom: DeliverySource;
  readonly connectTimeoutMs: number;
}

type DeliveryParts = ProxyParts & { readonly dials: Dials };

/** A connection to the application, and the place that it has. */
export interface Delivered {
  readonly application: Socket;
  /** Gives the place back; idempotent. */
  release(): void;
}

/**
 * Connects to the application. Whoever waits for a turn to dial has no place yet, so that an application that does not
 * answer takes none from others; one deadline holds for both. Throws `ConnectionError` or `DeniedError`.
 */
export function deliver(
  { destination }: InboundPermit,
  parts: DeliveryParts,
  settings: DeliverySettings,
  outer: AbortSignal,
): Promise<Delivered> {
  const late = () =>
    new ConnectionError('upstream_timeout', `${formatAddress(destination)} did not accept a connection in time`);
  return withDeadline(parts.clock, settings.connectTimeoutMs, late, outer, async (signal) => {
    const endTurn = await parts.dials.take(destination, signal);
    let release = () => {};
    try {
      release = takeConnection(parts);
      return { application: await dial(destination, settings, signal), release };
    } catch (error) {
      release();
      throw error;
    } finally {
      endTurn();
    }
  });
}

/** The application may be connected long before we hear of it: a sidecar that is killed meanwhile must show as a reset as well. */
async function dial(destination: Address, settings: DeliverySettings, signal: AbortSignal): Promise<Socket> {
  const socket = boundSocket(destination.ip, settings.deliverFrom);
  if (socket === undefined) {
    const opened = await openSocket(destination, { ...settings, allowHalfOpen: true }, signal);
    resetOnClose(opened);
    return opened;
  }
  resetOnClose(socket);
  socket.connect({ host: destination.ip, port: destination.port });
  return connected(socket, settings, signal);
}

/** Undefined means that the kernel chooses the source: as configured, or because ::6 is not in the pod, which is allowed for IPv6. */
function boundSocket(ip: string, from: DeliverySource): Socket | undefined {
  if (from === 'unbound') return undefined;
  if (from === 'pod-address') return socketBoundTo(ip);
  if (isIPv4(ip)) return socketBoundTo('127.0.0.6');
  try {
    return socketBoundTo('::6');
  } catch (error) {
    if (error instanceof SystemCallError) return undefined;
    throw error;
  }
}
