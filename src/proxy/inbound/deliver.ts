import type { Socket } from 'node:net';
import { isIPv4 } from 'node:net';
import { formatAddress } from '../../addresses.ts';
import type { Clock } from '../../clock.ts';
import { ConnectionError } from '../../errors.ts';
import { SystemCallError, socketBoundTo } from '../../libc.ts';
import type { InboundPermit } from '../../policy/permit.ts';
import { withDeadline } from '../deadline.ts';
import type { SocketOptions } from '../transport/connect.ts';
import { connected, openSocket } from '../transport/connect.ts';

/** The source address that the application sees. */
export const deliverySources = ['loopback', 'pod-address', 'unbound'] as const;
export type DeliverySource = (typeof deliverySources)[number];

export interface DeliverySettings extends SocketOptions {
  /** `loopback` (127.0.0.6 and ::6) tells the rules and the application that it was the sidecar; `pod-address` is for applications that trust 127.0.0.0/8. */
  readonly deliverFrom: DeliverySource;
  readonly connectTimeoutMs: number;
}

/** Connects to the application. Throws `ConnectionError`. */
export function deliver(
  { destination }: InboundPermit,
  settings: DeliverySettings,
  clock: Clock,
  outer: AbortSignal,
): Promise<Socket> {
  const late = () =>
    new ConnectionError('upstream_timeout', `${formatAddress(destination)} did not accept a connection in time`);
  return withDeadline(clock, settings.connectTimeoutMs, late, outer, (signal) => {
    const socket = boundSocket(destination.ip, settings.deliverFrom);
    if (socket === undefined) return openSocket(destination, { ...settings, allowHalfOpen: true }, signal);
    socket.connect({ host: destination.ip, port: destination.port });
    return connected(socket, settings, signal);
  });
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
