import { createHash } from 'node:crypto';
import * as v from 'valibot';
import type { AuthorizationPolicy, PolicyPart, PolicyState } from '../control-api.ts';
import { authorizationPolicy, maxPolicyBytes, policyState } from '../control-api.ts';
import { differenceOf } from './schema-difference.ts';

/** What a part of a policy makes of those before it. */
export type PartOutcome =
  /** More parts are to come. */
  | { readonly kind: 'incomplete' }
  /** `sign` is equal for equal policies. */
  | { readonly kind: 'complete'; readonly policy: PolicyState; readonly sign: string }
  /** The parts make no policy. One sentence without a full stop; said once, until one begins anew. */
  | { readonly kind: 'refused'; readonly why: string };

/** Puts a policy together that comes in parts; each is checked as it comes, so that the last one costs no more than the others. */
export interface PolicyParts {
  add(part: PolicyPart): PartOutcome;
  /** Lets go of what is not complete. */
  forget(): void;
  /** Whether some parts are here, and more are to come. */
  readonly isIncomplete: boolean;
}

/** A policy of which some parts are here. */
interface Half extends Pick<PolicyPart, 'epoch' | 'version' | 'part' | 'of'> {
  length: number;
  /** The beginning of a line whose end has not come. */
  rest: string;
  head: PolicyState | undefined;
  readonly authorization: AuthorizationPolicy[];
  readonly hash: ReturnType<typeof createHash>;
}

class PartsError extends Error {}

/** `maxLength` bounds the characters of all texts together. */
export function createPolicyParts(maxLength: number = maxPolicyBytes): PolicyParts {
  let half: Half | undefined;
  let isRefused = false;

  const take = (part: PolicyPart): PartOutcome => {
    half = part.part === 1 ? begun(part) : continued(half, part);
    half.length += part.text.length;
    if (half.length > maxLength) throw new PartsError(`it is longer than ${maxLength} bytes`);
    half.hash.update(part.text);
    const lines = (half.rest + part.text).split('\n');
    half.rest = lines.pop() ?? '';
    for (const line of lines) read(half, line);
    if (half.part < half.of) return { kind: 'incomplete' };
    const whole = finished(half);
    half = undefined;
    return { kind: 'complete', ...whole };
  };
  return {
    add(part) {
      if (part.part === 1) isRefused = false;
      if (isRefused) return { kind: 'incomplete' };
      try {
        return take(part);
      } catch (error) {
        if (!(error instanceof PartsError)) throw error;
        half = undefined;
        isRefused = true;
        return { kind: 'refused', why: error.message };
      }
    },
    forget() {
      half = undefined;
      isRefused = false;
    },
    get isIncomplete() {
      return half !== undefined;
    },
  };
}

function begun({ epoch, version, part, of }: PolicyPart): Half {
  const hash = createHash('sha256');
  return { epoch, version, part, of, length: 0, rest: '', head: undefined, authorization: [], hash };
}

function continued(half: Half | undefined, { epoch, version, part, of }: PolicyPart): Half {
  const isNext = half?.epoch === epoch && half.version === version && half.of === of && half.part + 1 === part;
  if (half !== undefined && isNext) return Object.assign(half, { part });
  const before = half === undefined ? 'nothing' : `part ${half.part} of ${half.of} of version ${half.version}`;
  throw new PartsError(`part ${part} of ${of} of version ${version} came after ${before}`);
}

function read(half: Half, line: string): void {
  if (half.head === undefined) half.head = parsed(policyState, line, 'the policy');
  else half.authorization.push(parsed(authorizationPolicy, line, `AuthorizationPolicy ${half.authorization.length}`));
}

function parsed<S extends v.GenericSchema>(schema: S, line: string, what: string): v.InferOutput<S> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new PartsError(`${what} is not JSON`);
  }
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  throw new PartsError(`of ${what} ${differenceOf(result.issues[0])}`);
}

function finished({ rest, head, authorization, hash }: Half): { readonly policy: PolicyState; readonly sign: string } {
  if (rest !== '' || head === undefined) throw new PartsError('its last part ends in the middle of a line');
  if (head.authorization !== undefined) throw new PartsError('its first line has AuthorizationPolicies');
  return { policy: { ...head, authorization }, sign: hash.digest('base64') };
}
