import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { codeOf, RenewalError } from '../errors.ts';

/** Bytes of the largest token that is sent; a projected service-account token has about 1,200. */
const maxTokenBytes = 16 * 1024;

/** RFC 6750 §2.1, `b64token`. */
const tokenSyntax = /^[A-Za-z0-9._~+/-]+=*$/;

/**
 * The bearer token in a file, without the line break at its end. Read anew for each call, because the kubelet replaces
 * the file. Throws `RenewalError('token_missing')`, whose message never carries a part of the content.
 */
export async function readToken(path: string): Promise<string> {
  const content = await readStart(path).catch((error: unknown) => {
    throw error instanceof RenewalError ? error : missing(`${path} cannot be read (${codeOf(error)})`);
  });
  const token = content.toString('latin1').replace(/\r?\n$/, '');
  if (content.length > maxTokenBytes) throw missing(`${path} is larger than ${maxTokenBytes} bytes`);
  if (token === '') throw missing(`${path} is empty`);
  if (!tokenSyntax.test(token)) throw missing(`${path} holds something else than one token`);
  return token;
}

async function readStart(path: string): Promise<Buffer> {
  // Without O_NONBLOCK a pipe in the place of the file would hold a thread of the pool forever.
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if (!(await file.stat()).isFile()) throw missing(`${path} is not a regular file`);
  const buffer = Buffer.alloc(maxTokenBytes + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}

function missing(what: string): RenewalError {
  return new RenewalError('token_missing', `The token file ${what}, expected a bearer token`);
}
