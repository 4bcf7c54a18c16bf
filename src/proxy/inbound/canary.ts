import type { Socket } from 'node:net';
import type { Address } from '../../addresses.ts';
import { captureProbe } from '../../ports.ts';
import { resetSocket } from '../leg.ts';

/** Whether a captured connection is a dial of the canary port, which no application is reached on. */
export function isCanary(originalDestination: Address | undefined): boolean {
  return originalDestination?.port === captureProbe.port;
}

/**
 * Tells whoever dialled the canary port that this process has captured it. Anybody may dial it, as often as he likes, so that
 * takes no place, no wait and no line in the log; without an answer, when nobody was asked to dial, it is reset.
 */
export function answerCanary(socket: Socket, answer: string | undefined): void {
  if (answer === undefined) resetSocket(socket);
  else socket.resume().end(answer, () => socket.destroySoon());
}
