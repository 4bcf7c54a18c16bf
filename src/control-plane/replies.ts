import type { ServerResponse } from 'node:http';
import { maxReplyBytes } from '../control-api.ts';
import { AuthorityExpiredError } from './authority.ts';
import { problemOf, Refusal } from './refusals.ts';

export interface ReplyOptions {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** What the other side reads at most; by default a sidecar. */
  readonly maxBytes?: number;
}

/** Sends `value` as the whole reply; throws `Refusal` when the other side would not read that much. */
export function sendJson(
  response: ServerResponse,
  value: unknown,
  { status = 200, headers = {}, maxBytes = maxReplyBytes }: ReplyOptions = {},
): void {
  const body = Buffer.from(JSON.stringify(value));
  if (body.length > maxBytes) throw replyTooLarge(maxBytes);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': body.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  });
  response.end(body);
}

export function replyTooLarge(maxBytes: number = maxReplyBytes): Refusal {
  return new Refusal('reply_too_large', `Expected a question with a reply of at most ${maxBytes} bytes`);
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
