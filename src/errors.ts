import { constants } from 'node:os';
import type { ClosedReason, DeniedReason, HandshakeReason, RenewalReason } from './outcomes.ts';
import type { RefusalFacts } from './refusal-facts.ts';

/** Exit codes of the program; 128+n is added by a signal. The numbers are those of sysexits(3). */
export const exitCodes = { ok: 0, failure: 1, usage: 2, unavailable: 69, permission: 77, configuration: 78 } as const;

/**
 * A failure that the operator can act on: its message is one sentence that names the thing, its value and what was
 * expected. A programmer's mistake is a `TypeError` instead, and ends the process.
 */
export class RemoraError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode: number, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.exitCode = exitCode;
  }
}

/** The command line is wrong. */
export class UsageError extends RemoraError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, exitCodes.usage, options);
  }
}

/** Settings, files or the environment are wrong; `problems` has one sentence for each, all found at once. */
export class ConfigurationError extends RemoraError {
  readonly problems: readonly string[];

  constructor(problems: string | readonly string[], options?: ErrorOptions) {
    const list = typeof problems === 'string' ? [problems] : problems;
    super(list.join('\n'), exitCodes.configuration, options);
    this.problems = list;
  }
}

/** Something this command depends on did not answer. */
export class UnavailableError extends RemoraError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, exitCodes.unavailable, options);
  }
}

/** The kernel or the file system refused. */
export class PermissionError extends RemoraError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, exitCodes.permission, options);
  }
}

/** The command ran and failed. */
export class FailureError extends RemoraError {
  constructor(message: string, options?: ErrorOptions) {
    super(message, exitCodes.failure, options);
  }
}

type FailureOptions = ErrorOptions & { readonly facts?: RefusalFacts };

/** A connection that this sidecar decided not to carry. */
export class DeniedError extends Error {
  readonly reason: DeniedReason;
  readonly facts: RefusalFacts;

  constructor(reason: DeniedReason, message: string, options?: FailureOptions) {
    super(message, options);
    this.name = 'DeniedError';
    this.reason = reason;
    this.facts = options?.facts ?? {};
  }
}

/** A TLS handshake that did not produce a verified peer. */
export class HandshakeError extends Error {
  readonly reason: HandshakeReason;
  readonly facts: RefusalFacts;

  constructor(reason: HandshakeReason, message: string, options?: FailureOptions) {
    super(message, options);
    this.name = 'HandshakeError';
    this.reason = reason;
    this.facts = options?.facts ?? {};
  }
}

/** A connection that ended, or could not be made, for a reason other than a decision of ours. */
export class ConnectionError extends Error {
  readonly reason: ClosedReason;
  readonly facts: RefusalFacts;

  constructor(reason: ClosedReason, message: string, options?: FailureOptions) {
    super(message, options);
    this.name = 'ConnectionError';
    this.reason = reason;
    this.facts = options?.facts ?? {};
  }
}

/**
 * The same failure of a connection with what is known at a place that it passes; what it knows already stays. Another error,
 * since many connections may wait for what has failed, and each has facts of its own.
 */
export function withFacts(error: unknown, facts: RefusalFacts): unknown {
  if (error instanceof DeniedError) return copied(error, error.reason, facts);
  if (error instanceof HandshakeError) return copied(error, error.reason, facts);
  if (error instanceof ConnectionError) return copied(error, error.reason, facts);
  return error;
}

function copied<R>(error: Error & { readonly facts: RefusalFacts }, reason: R, facts: RefusalFacts): Error {
  const Same = error.constructor as new (reason: R, message: string, options: FailureOptions) => Error;
  return new Same(reason, error.message, { cause: error.cause, facts: { ...facts, ...error.facts } });
}

/** A renewal attempt that produced no usable identity; the identity in use is kept. */
export class RenewalError extends Error {
  readonly reason: RenewalReason;
  /** What the server asked us to wait before the next attempt, already capped; milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(reason: RenewalReason, message: string, options?: ErrorOptions & { retryAfterMs?: number | undefined }) {
    super(message, options);
    this.name = 'RenewalError';
    this.reason = reason;
    this.retryAfterMs = options?.retryAfterMs;
  }
}

const outOfDescriptors: ReadonlySet<number> = new Set([constants.errno.EMFILE, constants.errno.ENFILE]);

/** Whether something failed because this process, or the whole host, has no descriptor left. */
export function isOutOfDescriptors(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  // Node.js has the number with either sign.
  const errno = 'errno' in error && typeof error.errno === 'number' ? Math.abs(error.errno) : 0;
  return outOfDescriptors.has(errno) || isOutOfDescriptors(error.cause);
}

/** The message of anything that was thrown, on one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  // Each run of white space is looked at once, however long a stranger made it.
  return text.replaceAll(/\s+/g, (space) => (/[\r\n]/.test(space) ? ' ' : space));
}

/** The `code` of a system or library error, such as `ECONNREFUSED`; empty when it has none. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
