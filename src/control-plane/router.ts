import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Clock } from '../clock.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import { createRefusalLog } from './refusal-log.ts';
import { Refusal } from './refusals.ts';
import { refusalOf, sendRefusal } from './replies.ts';

/** One request and its answer. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** What a path does. Rejects with `Refusal`, or with an error that is a failure of ours. */
export interface Route {
  readonly method: 'GET' | 'POST';
  handle(call: Call): Promise<void>;
}

/** Answers every request by its path; a request that fails becomes a problem document, never an exception. */
export function createRouter(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  routes: ReadonlyMap<string, Route>,
): RequestListener {
  const logRefusal = createRefusalLog(clock, log);

  const fail = ({ request, response }: Call, error: unknown) => {
    // Nobody listens any more, or a stream has begun: there is no place for an answer.
    if (response.headersSent || request.socket.destroyed) return void response.destroy();
    const refusal = refusalOf(error);
    logRefusal(refusal, {
      method: request.method,
      path: pathOf(request).slice(0, 64),
      peer: request.socket.remoteAddress,
    });
    if (refusal.reason === 'internal') log.error({ why: messageOf(error) }, 'A request failed');
    sendRefusal(response, refusal);
  };
  return (request, response) => {
    const call = { request, response };
    response.on('error', () => undefined);
    route(routes, call).catch((error: unknown) => fail(call, error));
  };
}

async function route(routes: ReadonlyMap<string, Route>, call: Call): Promise<void> {
  const { request } = call;
  const path = pathOf(request);
  const found = routes.get(path);
  if (found === undefined) throw new Refusal('not_found', `Expected one of ${[...routes.keys()].join(', ')}`);
  const isAllowed = request.method === found.method || (request.method === 'HEAD' && found.method === 'GET');
  const headers = { allow: found.method };
  if (!isAllowed) throw new Refusal('method_not_allowed', `Expected ${found.method} at ${path}`, { headers });
  await found.handle(call);
}

/** Without the query: no call has any of its own, and an API server adds its timeout. */
function pathOf({ url = '' }: IncomingMessage): string {
  return url.split('?', 1)[0] ?? '';
}
