/** Writes DER as it is told to, also wrongly: the tests need certificates that no library would make. */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  sequence: 0x30,
  set: 0x31,
  utcTime: 0x17,
  generalizedTime: 0x18,
} as const;

export function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  return Buffer.concat([Buffer.of(tag), lengthOf(content.length), content]);
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.of(length);
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Buffer.of(0x80 | bytes.length, ...bytes);
}

export function sequence(...contents: readonly Uint8Array[]): Buffer {
  return der(tags.sequence, ...contents);
}

/** A context-specific tag, as ASN.1 modules write `[n]`. */
export function context(number: number, isConstructed: boolean, ...contents: readonly Uint8Array[]): Buffer {
  return der(0x80 | (isConstructed ? 0x20 : 0) | number, ...contents);
}

export function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number);
  return der(tags.oid, Buffer.from([first * 40 + second, ...rest].flatMap(base128)));
}

function base128(value: number): number[] {
  const bytes = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) bytes.unshift(0x80 | (rest % 128));
  return bytes;
}

export function boolean(value: boolean): Buffer {
  return der(tags.boolean, Buffer.of(value ? 0xff : 0));
}

/** A non-negative integer. */
export function integer(value: number): Buffer {
  const hex = value.toString(16);
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
  return der(tags.integer, (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes);
}

export function bitString(bytes: Uint8Array, unusedBits = 0): Buffer {
  return der(tags.bitString, Buffer.of(unusedBits), bytes);
}

export function octetString(...contents: readonly Uint8Array[]): Buffer {
  return der(tags.octetString, ...contents);
}

/** UTCTime until 2049 and GeneralizedTime after it (RFC 5280 §4.1.2.5). */
export function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '');
  const year = new Date(ms).getUTCFullYear();
  return year < 2050 && year >= 1950
    ? der(tags.utcTime, Buffer.from(digits.slice(2)))
    : der(tags.generalizedTime, Buffer.from(digits));
}

export function commonName(text: string): Buffer {
  if (text === '') return sequence();
  return sequence(der(tags.set, sequence(oid('2.5.4.3'), der(tags.utf8String, Buffer.from(text)))));
}

export function pem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
