import { parseDate, timestamp } from '../clock.ts';

/**
 * A strict, bounded reader of DER (X.690): definite lengths only, minimally written, one-byte tags, nothing left over. It
 * reads one level at a time and never calls itself, so that hostile bytes cost no more than their own length.
 */
export interface Der {
  readonly tag: number;
  readonly content: Uint8Array;
}

/** Bytes that are not the DER that was expected. */
export class DerError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'DerError';
  }
}

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
} as const;

const contextSpecific = 0x80;
const constructed = 0x20;
const tagNumber = 0x1f;
const indefinite = 0x80;

/** The tag of `[n]`, as ASN.1 modules write it. */
export function contextTag(number: number, isConstructed: boolean): number {
  return contextSpecific | (isConstructed ? constructed : 0) | number;
}

/** The elements that stand one behind the other in `bytes`; throws `DerError` when it gets to the first that is none. */
export function* elements(bytes: Uint8Array): Generator<Der, void> {
  for (let offset = 0; offset < bytes.length; ) {
    const { element, end } = elementAt(bytes, offset);
    yield element;
    offset = end;
  }
}

function elementAt(bytes: Uint8Array, offset: number): { element: Der; end: number } {
  const tag = bytes[offset] ?? 0;
  if ((tag & tagNumber) === tagNumber) throw new DerError('A tag has more than one byte');
  const { length, start } = lengthAt(bytes, offset + 1);
  const end = start + length;
  if (end > bytes.length) throw new DerError('An element is longer than what holds it');
  return { element: { tag, content: bytes.subarray(start, end) }, end };
}

function lengthAt(bytes: Uint8Array, offset: number): { length: number; start: number } {
  const first = bytes[offset] ?? indefinite;
  if (first < 0x80) return { length: first, start: offset + 1 };
  const count = first & 0x7f;
  const start = offset + 1 + count;
  const length = bytes.subarray(offset + 1, start).reduce((sum, byte) => sum * 256 + byte, 0);
  // An indefinite length reads as zero here, and one that is cut off as less than so many bytes are for.
  if (length < 0x80 || length < 256 ** (count - 1))
    throw new DerError('A length is indefinite, cut off, or not in the fewest bytes');
  return { length, start };
}

/** The one element that `bytes` is, of the expected tag. */
export function readDer(bytes: Uint8Array, tag: number): Der {
  const [element, ...rest] = elements(bytes);
  if (rest.length > 0) throw new DerError('Bytes follow an element');
  return expectTag(element, tag);
}

function expectTag(element: Der | undefined, tag: number): Der {
  if (element?.tag !== tag) throw new DerError(`An element has tag ${element?.tag ?? 'none'}, expected ${tag}`);
  return element;
}

/** Walks the elements of a SEQUENCE in order, some of them optional. */
export interface Fields {
  /** The next element, which must have this tag. */
  next(tag: number): Der;
  /** The next element if it has this tag. */
  optional(tag: number): Der | undefined;
  /** The next element, whatever it is. */
  any(): Der;
  /** Throws `DerError` unless every element was taken. */
  end(): void;
}

export function fieldsOf(bytes: Uint8Array): Fields {
  const rest = elements(bytes);
  let ahead = rest.next().value ?? undefined;
  const take = () => {
    const element = ahead;
    ahead = rest.next().value ?? undefined;
    return element;
  };
  return {
    next: (tag) => expectTag(take(), tag),
    optional: (tag) => (ahead?.tag === tag ? take() : undefined),
    any: () => take() ?? expectTag(undefined, tags.sequence),
    end: () => {
      if (ahead !== undefined) throw new DerError('A SEQUENCE has more elements than expected');
    },
  };
}

/** X.690 §11.1: false is 00 and true is FF. */
export function readBoolean({ content }: Der): boolean {
  if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff))
    throw new DerError('A BOOLEAN is neither 00 nor FF');
  return content[0] === 0xff;
}

/** A small number that is not negative; throws above 2³¹ - 1. */
export function readSmallInteger({ content }: Der): number {
  const [first = 0x80, second = 0x80] = content;
  const isMinimal = first !== 0 || second >= 0x80;
  if (content.length > 4 || first >= 0x80 || !isMinimal)
    throw new DerError('An INTEGER is negative, too large or padded');
  return content.reduce((sum, byte) => sum * 256 + byte, 0);
}

/** Dotted decimal; throws when a number in it is not minimal or above 2³². */
export function readOid({ content }: Der): string {
  const numbers: number[] = [];
  let value = 0;
  let isStart = true;
  for (const byte of content) {
    if (isStart && byte === 0x80) throw new DerError('An OBJECT IDENTIFIER is padded');
    value = value * 128 + (byte & 0x7f);
    if (value > 2 ** 32) throw new DerError('An OBJECT IDENTIFIER has too large a number');
    isStart = byte < 0x80;
    if (isStart) {
      numbers.push(value);
      value = 0;
    }
  }
  const [head, ...tail] = numbers;
  if (!isStart || head === undefined || content.length > 64)
    throw new DerError('An OBJECT IDENTIFIER is cut, empty or too long');
  const root = Math.min(Math.floor(head / 40), 2);
  return [root, head - root * 40, ...tail].join('.');
}

/** The bytes of a BIT STRING, those bits that are unused set to zero by whoever wrote it. */
export function readBits({ content }: Der): Uint8Array {
  const [unused = 8] = content;
  const bits = content.subarray(1);
  const last = bits.at(-1) ?? 0;
  const isWhole = bits.length === 0 ? unused === 0 : unused < 8 && (last & ((1 << unused) - 1)) === 0;
  if (!isWhole) throw new DerError('A BIT STRING has wrong unused bits');
  return bits;
}

/** Milliseconds since the epoch of a UTCTime or GeneralizedTime as RFC 5280 §4.1.2.5 writes them: in seconds, ending in Z. */
export function readTime({ tag, content }: Der): number {
  const text = asciiOf(content);
  const isUtc = tag === tags.utcTime;
  const century = isUtc ? (text < '5' ? '20' : '19') : '';
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(century + text) ?? [];
  const ms = parseDate(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (Number.isNaN(ms) || (!isUtc && tag !== tags.generalizedTime))
    throw new DerError('A date is not in the form of RFC 5280');
  // JavaScript takes the 30th of February for the 2nd of March, and the hour 24 for the next day.
  if (!timestamp(ms).startsWith(`${year}-${month}-${day}T${hour}`)) throw new DerError('A date is not in the calendar');
  return ms;
}

/** One character a byte, so that nothing is interpreted; what is not ASCII stays visible as such. */
export function asciiOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

/** Lower-case hexadecimal. */
export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}
