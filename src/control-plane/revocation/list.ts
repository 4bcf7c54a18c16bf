import * as v from 'valibot';
import { parseDate } from '../../clock.ts';
import { shown } from '../../config/given.ts';
import type { RevocationState } from '../../control-api.ts';
import { parseSpiffeId } from '../../identity/spiffe-id.ts';

/** Since when something is revoked, as RFC 3339, and what the operator noted about it. */
export interface Note {
  readonly when: string;
  readonly reason?: string | undefined;
}

/** What an operator has revoked: notes by serial, as `normalSerial` writes it, and by SPIFFE ID. */
export interface RevocationList {
  readonly certificates: ReadonlyMap<string, Note>;
  readonly identities: ReadonlyMap<string, Note>;
}

/** Half of a message to a sidecar is for the operator's own list: it always fits, whatever comes from other authorities. */
export const listLimits = { fileBytes: 512 * 1024, pushedBytes: 128 * 1024, reasonCharacters: 200 } as const;

export const emptyList: RevocationList = { certificates: new Map(), identities: new Map() };

/** A list that cannot be used; one sentence for each problem, without the name of the file. */
export class RevocationListError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(problems.join('; '), options);
    this.name = 'RevocationListError';
    this.problems = problems;
  }
}

const serialForm = /^(?:serial=)?(?:0x)?([0-9a-f]+(?::[0-9a-f]+)*)$/i;
const longestSerial = 42;

/**
 * A serial as certificates are compared by: bytes in upper-case hexadecimal without leading zeros. Takes it as `openssl x509
 * -serial`, browsers and our log print it. Undefined when it is none, or longer than any that a sidecar accepts.
 */
export function normalSerial(text: string): string | undefined {
  const digits = serialForm.exec(text.trim())?.[1]?.replaceAll(':', '').replace(/^0+/, '').toUpperCase();
  if (digits === undefined || digits.length > longestSerial) return undefined;
  return digits.padStart(Math.max(2, digits.length + (digits.length % 2)), '0');
}

export const serialExpectation =
  'its hexadecimal digits, at most 42 of them, as openssl x509 -serial and the log of the control plane print them';

export function isReason(text: string): boolean {
  return text.length > 0 && text.length <= listLimits.reasonCharacters && !/\p{Cc}/u.test(text);
}

export const reasonExpectation = `1 to ${listLimits.reasonCharacters} characters on one line`;

const note = {
  when: v.pipe(v.string('a text'), v.check(isTimestamp, 'a time such as 2026-11-22T10:00:00Z')),
  reason: v.optional(v.pipe(v.string('a text'), v.check(isReason, reasonExpectation))),
};
const certificate = v.strictObject({
  serial: v.pipe(
    v.string('a text'),
    v.check((text) => normalSerial(text) !== undefined, serialExpectation),
  ),
  ...note,
});
const identity = v.strictObject({
  spiffeId: v.pipe(
    v.string('a text'),
    v.check((text) => parseSpiffeId(text).kind === 'id', 'a SPIFFE ID such as spiffe://cluster.local/ns/shop/sa/web'),
  ),
  ...note,
});
const document = v.strictObject({
  certificates: v.optional(v.array(certificate, 'a list'), []),
  identities: v.optional(v.array(identity, 'a list'), []),
});

const mostProblems = 5;

/** All of a text or nothing; throws `RevocationListError`. */
export function parseRevocationList(text: string): RevocationList {
  const value = parseJson(text);
  const parsed = v.safeParse(document, value);
  if (!parsed.success) throw new RevocationListError(parsed.issues.slice(0, mostProblems).map(problemOf));
  if (keysIn(text) !== keysOf(value as Record<string, unknown>))
    throw new RevocationListError(['a key stands twice in one object, and one of them would be lost']);
  const { certificates, identities } = parsed.output;
  const list: RevocationList = {
    certificates: new Map(certificates.map(({ serial, ...rest }) => [normalSerial(serial) ?? '', rest])),
    identities: new Map(identities.map(({ spiffeId, ...rest }) => [spiffeId, rest])),
  };
  const { pushedBytes } = listLimits;
  if (bytesOf(list) > pushedBytes)
    throw new RevocationListError([`it is more than the ${pushedBytes} bytes of a message that such a list can take`]);
  return list;
}

/** The text of a file with this list; throws `RevocationListError` when the list has become too long for one. */
export function printRevocationList(list: RevocationList): string {
  const text = `${JSON.stringify(documentOf(list), undefined, 2)}\n`;
  if (Buffer.byteLength(text) > listLimits.fileBytes || bytesOf(list) > listLimits.pushedBytes)
    throw new RevocationListError(['the list is full: lift what has ended, certificates of a mesh within a day']);
  return text;
}

/** As JSON has it, in the file and for programs. */
export function documentOf({ certificates, identities }: RevocationList) {
  return {
    certificates: [...certificates].map(([serial, rest]) => ({ serial, ...rest })),
    identities: [...identities].map(([spiffeId, rest]) => ({ spiffeId, ...rest })),
  };
}

/** What sidecars are told of it. */
export function stateOf({ certificates, identities }: RevocationList): RevocationState {
  const serials = [...certificates.keys()];
  return { certificates: serials.length === 0 ? [] : [{ serials }], identities: [...identities.keys()] };
}

function bytesOf(list: RevocationList): number {
  return Buffer.byteLength(JSON.stringify(stateOf(list)));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new RevocationListError(['it is not JSON, expected {"certificates":[…],"identities":[…]}'], { cause: error });
  }
}

function problemOf(issue: v.InferIssue<typeof document>): string {
  const where = shown(v.getDotPath(issue) ?? 'the whole');
  if (issue.type === 'strict_object' && issue.expected === 'never') return `${where} is not known`;
  if (issue.type === 'strict_object' && issue.received === 'undefined') return `${where} is missing`;
  return `${where} is not as expected: ${issue.type === 'strict_object' ? 'an object' : issue.message}`;
}

/** Keys as they stand in a JSON text: strings before a colon. */
function keysIn(text: string): number {
  return [...text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)].filter(([, colon]) => colon !== undefined).length;
}

/** Keys that were read, in a value of the form of `document`. */
function keysOf(value: Record<string, unknown>): number {
  const objects = [value, ...Object.values(value).flat()] as Record<string, unknown>[];
  return objects.reduce((sum, one) => sum + Object.keys(one).length, 0);
}

function isTimestamp(text: string): boolean {
  return (
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(parseDate(text))
  );
}
