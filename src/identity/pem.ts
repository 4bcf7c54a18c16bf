/** Text that is not the PEM that was expected; the message never holds any of it, because it may be a key. */
export class PemError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'PemError';
  }
}

const boundary = /^-----(BEGIN|END) ([A-Z0-9 ]+)-----$/;
const base64Line = /^[A-Za-z0-9+/]+={0,2}$/;
/** A line as long as this outside of a block is what is left of a block whose boundaries were lost. */
const longestStray = 60;

export type PemLabel = 'CERTIFICATE' | 'X509 CRL';

export interface PemBlock {
  readonly label: PemLabel;
  readonly der: Buffer;
}

const plurals: Readonly<Record<PemLabel, string>> = { CERTIFICATE: 'certificates', 'X509 CRL': 'CRLs' };

/** The DER of every CERTIFICATE block in a text, as `readPemBlocks` reads them. Throws `PemError`. */
export function readPemCertificates(text: string): Buffer[] {
  return readPemBlocks(text, ['CERTIFICATE']).map(({ der }) => der);
}

/**
 * Every block in a text (RFC 7468), in its order; none when it holds no block. Words between blocks are skipped as other
 * tools do, but one broken block, or one that is not `expected`, refuses the whole text: what is skipped silently is
 * trusted only in part. Throws `PemError`.
 */
export function readPemBlocks(text: string, expected: readonly PemLabel[]): PemBlock[] {
  const blocks: PemBlock[] = [];
  let open: { readonly label: PemLabel; readonly lines: string[] } | undefined;
  for (const [index, untrimmed] of text.split('\n').entries()) {
    const line = untrimmed.trim();
    const [, edge, name] = boundary.exec(line) ?? [];
    if (edge === undefined) {
      if (open === undefined) refuseStray(line, index);
      else if (line !== '') open.lines.push(line);
      continue;
    }
    const label = expectLabel(name, expected, index);
    if ((edge === 'BEGIN') !== (open === undefined) || label !== (open?.label ?? label))
      throw new PemError(`Line ${index + 1} is ${edge} of a block in the wrong place`);
    if (open !== undefined) blocks.push({ label, der: decode(open.lines, index) });
    open = open === undefined ? { label, lines: [] } : undefined;
  }
  if (open !== undefined) throw new PemError('The last block has no end');
  return blocks;
}

function expectLabel(name: string | undefined, expected: readonly PemLabel[], index: number): PemLabel {
  const label = expected.find((one) => one === name);
  if (label !== undefined) return label;
  const what = name?.endsWith('PRIVATE KEY') ? 'a private key' : `a block that is not a ${expected.join(' or ')}`;
  throw new PemError(
    `Line ${index + 1} begins ${what}, where only ${expected.map((one) => plurals[one]).join(' and ')} are expected`,
  );
}

/** With the character behind it. Each is tried once: an expression over all of a boundary would try every BEGIN of a line to its end. */
const boundaryWords = /\b(?:BEGIN|END) [A-Z0-9 ]*.?/g;

function refuseStray(line: string, index: number): void {
  const hasBoundary = () => (line.match(boundaryWords) ?? []).some((words) => /(?:CERTIFICATE|CRL|KEY)\b/.test(words));
  const isBroken = line.includes('-----') || hasBoundary();
  if (isBroken || (line.length >= longestStray && base64Line.test(line))) {
    throw new PemError(`Line ${index + 1} looks like a part of a broken block`);
  }
}

function decode(lines: readonly string[], index: number): Buffer {
  const text = lines.join('');
  if (!base64Line.test(text) || text.length % 4 !== 0)
    throw new PemError(`The block that ends on line ${index + 1} is not base64`);
  return Buffer.from(text, 'base64');
}

/** One CERTIFICATE block. */
export function writePemCertificate(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
