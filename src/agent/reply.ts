import type { Dispatcher } from 'undici';
import { errors } from 'undici';
import * as v from 'valibot';
import type { Clock } from '../clock.ts';
import { parseDate } from '../clock.ts';
import { maxReplyBytes, problem } from '../control-api.ts';
import { codeOf, messageOf, RenewalError } from '../errors.ts';
import type { RenewalReason } from '../outcomes.ts';
import { printable } from '../printable.ts';
import { repeatedKey } from '../repeated-key.ts';
import { differenceOf } from './schema-difference.ts';

export type Reply = Dispatcher.ResponseData;

/** The longest wait that a server can impose; milliseconds. */
export const longestRetryAfterMs = 150_000;
/** A server that asks for more than this does not mean it. */
const incredibleRetryAfterMs = 3_600_000;

/** Throws `RenewalError('bad_json')` for a body that would have to be unpacked: a few bytes could become any number. */
export function refuseEncoding({ headers }: Reply): void {
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') {
    throw new RenewalError('bad_json', 'The reply of the control plane is compressed, expected plain JSON');
  }
}

/** The whole body as text, which is read or dropped afterwards. Throws `RenewalError`: `too_large` beyond the cap, `bad_json` when it is encoded or not UTF-8. */
export async function readText(reply: Reply, maxBytes = maxReplyBytes): Promise<string> {
  // Dropping a body that was not read to its end is an error event to undici.
  const body = reply.body.on('error', () => undefined);
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    refuseEncoding(reply);
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      length += chunk.length;
      if (length > maxBytes) {
        throw new RenewalError('too_large', `The reply of the control plane is larger than ${maxBytes} bytes`);
      }
      chunks.push(chunk);
    }
  } finally {
    body.destroy();
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new RenewalError('bad_json', 'The reply of the control plane is not UTF-8');
  }
}

/**
 * The value of JSON text against a schema. Throws `RenewalError('bad_json')`, which tells where it differs and nothing of
 * what stands there: a server could send our own token back.
 */
export function parseReply<S extends v.GenericSchema>(schema: S, text: string): v.InferOutput<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new RenewalError('bad_json', `The reply of the control plane is not JSON (${text.length} characters)`);
  }
  if (repeatedKey(text, 'trustBundles') !== undefined)
    throw new RenewalError('bad_json', 'The reply of the control plane names a trust domain twice');
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  throw new RenewalError(
    'bad_json',
    `The reply of the control plane has a wrong form: ${differenceOf(result.issues[0])}`,
  );
}

/** What a reply other than 200 means. Every secret is cut out of the words of the server. */
export async function refusalOf(reply: Reply, clock: Clock, secrets: readonly string[]): Promise<RenewalError> {
  const { statusCode, headers } = reply;
  const text = await problemText(reply);
  const detail = secrets.reduce((rest, secret) => rest.replaceAll(secret, '[token]'), text);
  const words = detail === '' ? '' : `: ${detail.slice(0, 300)}`;
  const location = statusCode >= 300 && statusCode < 400 ? ', and redirects are not followed' : '';
  return new RenewalError(reasonOf(statusCode, text), `The control plane answered ${statusCode}${location}${words}`, {
    retryAfterMs: statusCode === 429 || statusCode === 503 ? retryAfterMs(headers['retry-after'], clock) : undefined,
  });
}

function reasonOf(statusCode: number, text: string): RenewalReason {
  if (statusCode === 401) return 'http_401';
  if (statusCode === 403) return text.startsWith('identity_revoked,') ? 'revoked' : 'http_403';
  if (statusCode === 429) return 'http_429';
  return statusCode >= 500 ? 'http_5xx' : 'bad_json';
}

/** The words of a problem document (RFC 9457) on one line; empty when there is none. */
async function problemText(reply: Reply): Promise<string> {
  try {
    const { title, reason, detail } = parseReply(problem, await readText(reply));
    return messageOf(`${reason}, ${detail ?? title}`);
  } catch {
    return '';
  }
}

/** RFC 9110 §10.2.3: seconds or a date. Undefined when it is neither, or nothing that a server can mean. */
function retryAfterMs(header: string | string[] | undefined, clock: Clock): number | undefined {
  const text = String(header ?? '');
  const waitMs = /^\d+$/.test(text) ? Number(text) * 1000 : parseDate(text) - clock.now();
  if (!(waitMs >= 0 && waitMs <= incredibleRetryAfterMs)) return undefined;
  return Math.min(waitMs, longestRetryAfterMs);
}

const reasonOfCode: Readonly<Record<string, RenewalReason>> = {
  UND_ERR_HEADERS_OVERFLOW: 'too_large',
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  ETIMEDOUT: 'timeout',
};

/** Codes of OpenSSL's verification as Node.js writes them, and of the check of the name. */
const certificateRefused = /^(?:CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_|PATH_LENGTH|HOSTNAME_|ERR_TLS_CERT)/;

const foreignIssuer = 'no root in controlPlaneCaFile has issued it';

const whyRefused: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'its dates are over, by the clock of this node',
  CERT_NOT_YET_VALID: 'its dates have not begun, by the clock of this node',
  INVALID_PURPOSE: 'it is not for a server',
  UNABLE_TO_GET_ISSUER_CERT: foreignIssuer,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: foreignIssuer,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: foreignIssuer,
  CERT_SIGNATURE_FAILURE: foreignIssuer,
  SELF_SIGNED_CERT_IN_CHAIN: foreignIssuer,
  DEPTH_ZERO_SELF_SIGNED_CERT: foreignIssuer,
};

/** Which check the certificate of the control plane did not pass, in words and by the name that OpenSSL or Node.js has for it. */
function refusedBecause(error: unknown, code: string): string {
  if (code !== 'ERR_TLS_CERT_ALTNAME_INVALID') return `${whyRefused[code] ?? 'it breaks a rule of X.509'} (${code})`;
  // Its names are text of a stranger.
  return `its name is another one (${code}: ${printable(messageOf(error), maxNameText)})`;
}

const maxNameText = 300;

/** The closed reason of anything that a call of the control plane throws. */
export function failureOf(error: unknown, url: string): RenewalError {
  if (error instanceof RenewalError) return error;
  const code = codeOf(error);
  if (error instanceof errors.HTTPParserError) return new RenewalError('bad_json', `${url} does not answer in HTTP`);
  if (certificateRefused.test(code)) {
    const why = refusedBecause(error, code);
    return new RenewalError('server_untrusted', `Whoever answers at ${url} is not trusted: ${why}`);
  }
  const reason = reasonOfCode[code] ?? 'unreachable';
  return new RenewalError(reason, `The control plane at ${url} cannot be reached: ${code || messageOf(error)}`);
}
