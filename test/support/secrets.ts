import type { KeyObject } from 'node:crypto';
import { createPrivateKey } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The ways in which a token may be written: whole, or its signature, which makes one of what is no secret. */
export function formsOfToken(name: string, token: string): [string, string][] {
  const signature = token.split('.')[2] ?? '';
  if (signature.length < 40) throw new Error(`${name} is no signed token`);
  const bytes = Buffer.from(signature, 'base64url');
  return [
    [`the signature of ${name}`, signature],
    [`the signature of ${name} in base64`, Buffer.from(signature).toString('base64').slice(0, 60)],
    [`the signature of ${name} in hexadecimal`, bytes.toString('hex')],
  ];
}

/** The ways in which the scalar of a private key on an elliptic curve may be written. */
export function formsOfKey(name: string, key: KeyObject): [string, string][] {
  const { d = '' } = key.export({ format: 'jwk' });
  const scalar = Buffer.from(d, 'base64url');
  if (scalar.length < 32) throw new Error(`${name} is no key on an elliptic curve`);
  const hex = scalar.toString('hex');
  return [
    [`${name} in base64url`, d],
    [`${name} in base64`, scalar.toString('base64').slice(0, 42)],
    [`${name} in hexadecimal`, hex],
    [`${name} in upper-case hexadecimal`, hex.toUpperCase()],
    [`${name} in pairs`, hex.match(/../g)?.join(':') ?? ''],
    [`${name} in bytes`, [...scalar].join(',')],
    // Where it lies among other fields, its digits in base64 depend on what is in front of it.
    ...(['pkcs8', 'sec1'] as const).flatMap((type) =>
      piecesOf(`${name} in ${type}`, key.export({ type, format: 'der' }) as Buffer, scalar),
    ),
  ];
}

/** The digits that are of the scalar alone, as the lines of PEM part them. */
function piecesOf(name: string, der: Buffer, scalar: Buffer): [string, string][] {
  const text = der.toString('base64');
  const at = der.indexOf(scalar);
  const [from, to] = [Math.ceil((at * 4) / 3), Math.floor(((at + scalar.length) * 4) / 3)];
  const starts = Array.from({ length: Math.ceil(text.length / 64) }, (_, line) => line * 64);
  const pieces = starts.map((start) => text.slice(Math.max(start, from), Math.min(start + 64, to)));
  return pieces.filter((piece) => piece.length > 10).map((piece, index) => [`${name}, piece ${index + 1}`, piece]);
}

/** Every private key and token in the files below a folder. */
export function secretsBelow(folder: string): [string, string][] {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return files.flatMap(({ parentPath, name }) => {
    const text = readFileSync(join(parentPath, name), 'latin1');
    const pems = text.match(/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]+?-----END [A-Z ]*PRIVATE KEY-----/g) ?? [];
    const tokens = text.match(/\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{40,}/g) ?? [];
    return [
      ...pems.flatMap((pem) => formsOfKey(`the key in ${name}`, createPrivateKey(pem))),
      ...tokens.flatMap((token) => formsOfToken(`the token in ${name}`, token)),
    ];
  });
}

/** The names of the secrets that a text contains, in any of the forms. */
export function secretsIn(text: string, secrets: readonly (readonly [string, string])[]): string[] {
  const marks: [string, string][] = [
    ['a private key', 'PRIVATE KEY-----'],
    ['a bearer token', 'Bearer ey'],
  ];
  return [...secrets, ...marks].filter(([, form]) => text.includes(form)).map(([name]) => name);
}
