import type { IncomingMessage } from 'node:http';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import * as v from 'valibot';
import { problem } from '../control-api.ts';
import { codeOf, FailureError, messageOf, PermissionError, UnavailableError, UsageError } from '../errors.ts';
import { maxAdminReplyBytes } from './rotation-status.ts';

/** A step waits for the disk, and for the one before it. */
const answerTimeoutMs = 30_000;

/** Where the admin socket of a control plane with this state directory is by default. */
export function adminSocketIn(stateDirectory: string): string {
  return join(stateDirectory, 'admin.sock');
}

/** The socket that the options of a command name; throws `UsageError` unless they name one. */
export function adminSocketOf(flags: { readonly stateDir?: string; readonly adminSocket?: string }): string {
  const { stateDir, adminSocket } = flags;
  if (adminSocket !== undefined && stateDir === undefined) return adminSocket;
  if (adminSocket === undefined && stateDir !== undefined) return adminSocketIn(stateDir);
  throw new UsageError('Expected one of --state-dir and --admin-socket, as they are given to the control plane');
}

/**
 * One call of the admin API; a body makes it a POST. Throws `UnavailableError` when no control plane answers, `PermissionError`
 * when this user may not ask, and `FailureError` with what it says when it refuses or cannot.
 */
export async function callAdmin<S extends v.GenericSchema>(
  socketPath: string,
  path: string,
  schema: S,
  body?: unknown,
  maxReplyBytes = maxAdminReplyBytes,
  timeoutMs = answerTimeoutMs,
): Promise<v.InferOutput<S>> {
  const { statusCode, text } = await ask(socketPath, path, body, maxReplyBytes, timeoutMs).catch((error: unknown) => {
    throw failureOf(error, socketPath);
  });
  const parsed = v.safeParse(statusCode === 200 ? schema : problem, parse(text));
  if (!parsed.success) throw new UnavailableError(`What answers at ${socketPath} is no control plane of this version`);
  if (statusCode === 200) return parsed.output as v.InferOutput<S>;
  const { title, detail } = parsed.output as v.InferOutput<typeof problem>;
  throw new FailureError(`The control plane at ${socketPath} could not do it: ${detail ?? title}`);
}

async function ask(
  socketPath: string,
  path: string,
  body: unknown,
  maxBytes: number,
  timeout: number,
): Promise<{ statusCode: number; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const headers = { 'content-type': 'application/json' };
  const method = body === undefined ? 'GET' : 'POST';
  const request = httpRequest({ socketPath, path, method, headers, agent: false, timeout }, resolve);
  request.on('error', reject).on('timeout', () => request.destroy(new Error('it does not answer')));
  request.end(body === undefined ? undefined : JSON.stringify(body));
  const response = await promise;
  let text = '';
  for await (const chunk of response) {
    text += String(chunk);
    if (text.length > maxBytes) throw new Error('its answer is too large');
  }
  return { statusCode: response.statusCode ?? 0, text };
}

function failureOf(error: unknown, socketPath: string): Error {
  const code = codeOf(error);
  if (code === 'EACCES' || code === 'EPERM')
    return new PermissionError(`This user may not use ${socketPath}, expected the user of the control plane`, {
      cause: error,
    });
  const why = ['ENOENT', 'ECONNREFUSED'].includes(code)
    ? ': see whether it runs and how its log ends, or name the socket of the one that runs'
    : `: ${messageOf(error)}`;
  return new UnavailableError(`No control plane answers at ${socketPath}${why}`, { cause: error });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
