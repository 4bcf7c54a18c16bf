import { RemoraError } from '../errors.ts';
import { Refusal } from './refusals.ts';
import { sendJson } from './replies.ts';
import { readBody } from './request-body.ts';
import type { Rotation } from './rotation.ts';
import { maxAdminReplyBytes, rotationPaths, stepRequest } from './rotation-status.ts';
import type { Route } from './router.ts';

/** The calls of the admin API about the root. */
export function rotationCalls(rotation: Rotation): ReadonlyMap<string, Route> {
  const limits = { maxBytes: maxAdminReplyBytes };
  return new Map<string, Route>([
    [
      rotationPaths.status,
      { method: 'GET', handle: async ({ response }) => sendJson(response, rotation.status(), limits) },
    ],
    [
      rotationPaths.step,
      {
        method: 'POST',
        handle: async ({ request, response }) => {
          const { step, force } = await readBody(request, stepRequest, { bytes: 1024 });
          sendJson(response, await rotation.take(step, force).catch(told), limits);
        },
      },
    ],
  ]);
}

/** Whoever may use this socket may know which file could not be written. */
function told(error: unknown): never {
  if (error instanceof RemoraError) throw new Refusal('internal', error.message, { cause: error });
  throw error;
}
