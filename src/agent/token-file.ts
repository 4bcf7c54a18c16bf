import * as v from 'valibot';
import { readBoundedFile } from '../bounded-file.ts';
import { messageOf, RenewalError } from '../errors.ts';

/** Bytes of the largest token that is sent; a projected service-account token has about 1,200. */
const maxTokenBytes = 16 * 1024;

/** RFC 6750 §2.1, `b64token`. */
const tokenSyntax = /^[A-Za-z0-9._~+/-]+=*$/;

/**
 * The bearer token in a file, without the line break at its end. Read anew for each call, because the kubelet replaces
 * the file. Throws `RenewalError('token_missing')`, whose message never carries a part of the content.
 */
export async function readToken(path: string): Promise<string> {
  const content = await readBoundedFile(path, maxTokenBytes).catch((error: unknown) => {
    throw missing(messageOf(error));
  });
  const token = content.toString('latin1').replace(/\r?\n$/, '');
  if (token === '') throw missing(`${path} is empty`);
  if (!tokenSyntax.test(token)) throw missing(`${path} holds something else than one token`);
  return token;
}

function missing(what: string): RenewalError {
  return new RenewalError('token_missing', `The token file ${what}, expected a bearer token`);
}

const subjectClaim = v.object({ sub: v.pipe(v.string(), v.maxLength(512)) });

/**
 * The service account that a Kubernetes token says it is for, without verifying it: good for a proposal that the
 * control plane checks, for nothing else. Undefined when it is no such token.
 */
export function serviceAccountOf(token: string): { readonly namespace: string; readonly name: string } | undefined {
  try {
    const claims = v.parse(subjectClaim, JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()));
    const [, namespace, name] =
      /^system:serviceaccount:([a-z0-9-]+):([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)$/.exec(claims.sub) ?? [];
    return namespace === undefined || name === undefined ? undefined : { namespace, name };
  } catch {
    return undefined;
  }
}
