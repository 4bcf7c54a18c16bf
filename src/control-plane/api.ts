import type { IncomingMessage, RequestListener } from 'node:http';
import { messageOf } from '../errors.ts';
import type { ApiParts, Call, Route } from './api-calls.ts';
import { createCalls } from './api-calls.ts';
import { createRefusalLog } from './refusal-log.ts';
import { Refusal } from './refusals.ts';
import { refusalOf, sendRefusal } from './replies.ts';

/** Answers every request of the API; a request that fails becomes a problem document, never an exception. */
export function createApi(parts: ApiParts): RequestListener {
  const routes = createCalls(parts);
  const logRefusal = createRefusalLog(parts.clock, parts.log);

  const fail = ({ request, response }: Call, error: unknown) => {
    // Nobody listens any more, or a stream has begun: there is no place for an answer.
    if (response.headersSent || request.socket.destroyed) return void response.destroy();
    const refusal = refusalOf(error);
    logRefusal(refusal, {
      method: request.method,
      path: pathOf(request).slice(0, 64),
      peer: request.socket.remoteAddress,
    });
    if (refusal.reason === 'internal') parts.log.error({ why: messageOf(error) }, 'A request failed');
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

/** Without the query, of which no call has any. */
function pathOf({ url = '' }: IncomingMessage): string {
  return url.split('?', 1)[0] ?? '';
}
