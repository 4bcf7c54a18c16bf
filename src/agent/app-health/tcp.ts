import type { Clock } from '../../clock.ts';
import type { Target } from './dial.ts';
import { dial } from './dial.ts';

/** How long an application may take to end its side too; milliseconds. Most do at once. */
const lingerMs = 100;

/**
 * Succeeds when the application takes a connection, which is then ended and not reset: the application must not log a
 * fault because it was greeting. Throws `UnavailableError`.
 */
export async function probeTcp(clock: Clock, target: Target, signal: AbortSignal): Promise<string> {
  const socket = await dial(target, false, signal);
  const { promise, resolve } = Promise.withResolvers<void>();
  const linger = clock.after(lingerMs, () => socket.destroy());
  // What it greets with is read: the kernel answers a close over unread bytes, and bytes after a close, with a reset.
  socket.resume().once('close', resolve);
  socket.end();
  await promise;
  linger.cancel();
  return `${target.name} takes connections`;
}
