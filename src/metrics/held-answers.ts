import type { ServerResponse } from 'node:http';

/** So many bytes may wait for clients that have not taken them. A page of a thousand peers has 5 MiB. */
export const maxHeldBytes = 16 * 1024 * 1024;

/**
 * What waits for slow clients. Beyond the limit the answer that has waited longest is cut by a reset, so that it does not look
 * whole; the newest is never cut. A page that several answers share counts once.
 */
export interface HeldAnswers {
  /** `pages` are its parts, each shared or not. */
  hold(response: ServerResponse, ...pages: readonly Uint8Array[]): void;
}

export function createHeldAnswers(most = maxHeldBytes): HeldAnswers {
  const held = new Map<ServerResponse, readonly Uint8Array[]>();
  const bytes = () => [...new Set([...held.values()].flat())].reduce((sum, { length }) => sum + length, 0);
  return {
    hold(response, ...pages) {
      held.set(response, pages);
      response.once('close', () => held.delete(response));
      for (const [oldest] of held) {
        if (oldest === response || bytes() <= most) return;
        held.delete(oldest);
        oldest.socket?.resetAndDestroy();
      }
    },
  };
}
