import type { ServerResponse } from 'node:http';
import { maxReplyBytes } from '../control-api.ts';
import { AuthorityExpiredError } from './authority.ts';
import { problemOf, Refusal } from './refusals.ts';

/** Sends `value` as the whole reply; throws `Refusal` when a sidecar would not read that much. */
export function sendJson(
  response: ServerResponse,
  value: unknown,
  { status = 200, headers = {} }: { status?: number; headers?: Readonly<Record<string, string>> } = {},
): void {
  const body = Buffer.from(JSON.stringify(value));
  if (body.length > maxReplyBytes) throw replyTooLarge();
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': body.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  });
  response.end(body);
}

export function replyTooLarge(): Refusal {
  return new Refusal('reply_too_large', `Expected a question with a reply of at most ${maxReplyBytes} bytes`);
}

/** Sends a problem document. */
export function sendRefusal(response: ServerResponse, refusal: Refusal): void {
  const headers = { 'content-type': 'application/problem+json', ...refusal.headers };
  sendJson(response, problemOf(refusal), { status: refusal.status, headers });
}

/** What the client is told of anything that was thrown. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof AuthorityExpiredError) return new Refusal('authority_expired', error.message, { cause: error });
  return new Refusal('internal', 'The request failed for a reason that only the log tells', { cause: error });
}
