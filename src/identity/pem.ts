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

/**
 * The DER of every CERTIFICATE block in a text (RFC 7468), in its order; none when it holds no block. Words between blocks
 * are skipped as other tools do, but one broken block refuses the whole text: what is skipped silently is trusted only in
 * part. Throws `PemError`.
 */
export function readPemCertificates(text: string): Buffer[] {
  const blocks: Buffer[] = [];
  let open: string[] | undefined;
  for (const [index, untrimmed] of text.split('\n').entries()) {
    const line = untrimmed.trim();
    const [, edge, label] = boundary.exec(line) ?? [];
    if (edge === undefined) {
      if (open === undefined) refuseStray(line, index);
      else if (line !== '') open.push(line);
      continue;
    }
    refuseLabel(label, index);
    if ((edge === 'BEGIN') !== (open === undefined))
      throw new PemError(`Line ${index + 1} is ${edge} of a block in the wrong place`);
    if (open !== undefined) blocks.push(decode(open, index));
    open = open === undefined ? [] : undefined;
  }
  if (open !== undefined) throw new PemError('The last block has no end');
  return blocks;
}

function refuseLabel(label: string | undefined, index: number): void {
  if (label === 'CERTIFICATE') return;
  const what = label?.endsWith('PRIVATE KEY') ? 'a private key' : 'a block that is not a CERTIFICATE';
  throw new PemError(`Line ${index + 1} begins ${what}, where only certificates are expected`);
}

function refuseStray(line: string, index: number): void {
  const isBroken = line.includes('-----') || /\b(BEGIN|END) [A-Z0-9 ]*(CERTIFICATE|KEY)\b/.test(line);
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
