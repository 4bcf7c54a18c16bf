import type { Problem } from '../control-api.ts';

/**
 * Every reason why the API refuses a request; clients may rely on them. 401 asks for another token, 403 says that a good
 * one is not enough.
 */
export const refusals = {
  token_missing: { status: 401, title: 'The request carries no bearer token' },
  token_invalid: { status: 401, title: 'The bearer token is not valid' },
  token_expired: { status: 401, title: 'The bearer token has expired' },
  token_audience: { status: 401, title: 'The bearer token is for another audience' },
  token_not_bound: { status: 403, title: 'The bearer token names no pod' },
  identity_revoked: { status: 403, title: 'This identity has been revoked' },
  aborted: { status: 400, title: 'The client left before its body had arrived' },
  bad_json: { status: 400, title: 'The body is not JSON' },
  bad_request: { status: 400, title: 'The body has an unexpected form' },
  csr_invalid: { status: 400, title: 'The certificate request is not acceptable' },
  not_found: { status: 404, title: 'There is nothing at this path' },
  method_not_allowed: { status: 405, title: 'This path does not take this method' },
  too_large: { status: 413, title: 'The body is larger than the limit' },
  reply_too_large: { status: 400, title: 'The reply would be larger than the limit' },
  unsupported_media_type: { status: 415, title: 'The body is not plain application/json' },
  too_many_requests: { status: 429, title: 'As many requests as may are being answered' },
  too_many_streams: { status: 429, title: 'This pod has as many streams as it may' },
  internal: { status: 500, title: 'The control plane failed' },
  authority_expired: { status: 503, title: 'The root certificate has ended' },
  stopping: { status: 503, title: 'The control plane is shutting down' },
} as const satisfies Record<string, { readonly status: number; readonly title: string }>;

export type RefusalReason = keyof typeof refusals;

/** A request that is answered with a problem document; the message is its detail, and never holds a key or a token. */
export class Refusal extends Error {
  readonly reason: RefusalReason;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    reason: RefusalReason,
    detail: string,
    options: ErrorOptions & { headers?: Record<string, string> } = {},
  ) {
    super(detail, options);
    this.name = 'Refusal';
    this.reason = reason;
    this.headers = options.headers ?? {};
  }

  get status(): number {
    return refusals[this.reason].status;
  }
}

/** RFC 9457. */
export function problemOf({ reason, message }: Refusal): Problem {
  return { type: 'about:blank', ...refusals[reason], reason, detail: message };
}
