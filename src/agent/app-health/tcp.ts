import type { Target } from './dial.ts';
import { dial } from './dial.ts';

/** Succeeds when the application takes a connection, which is then ended and not reset: the application must not log a fault. */
export async function probeTcp(target: Target, signal: AbortSignal): Promise<string> {
  const socket = await dial(target, false, signal);
  const { promise, resolve } = Promise.withResolvers<void>();
  // What the application greets with is read: the kernel answers a close over unread bytes with a reset.
  socket.resume().once('close', resolve);
  socket.end(() => socket.destroy());
  await promise;
  return `${target.name} takes connections`;
}
