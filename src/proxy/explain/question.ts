import { canonicalIp, parsePort, splitHostPort } from '../../addresses.ts';
import { parseSpiffeId } from '../../identity/spiffe-id.ts';
import { printable } from '../../printable.ts';
import type { Caller } from './inbound.ts';

/** What a person asks. */
export type Question =
  | { readonly kind: 'to'; readonly host: string; readonly port: number }
  | { readonly kind: 'from'; readonly caller: Caller; readonly port: number | undefined }
  | { readonly kind: 'id'; readonly id: string }
  /** One sentence why it is no question. */
  | { readonly kind: 'problem'; readonly why: string };

const problem = (why: string): Question => ({ kind: 'problem', why });
const expected =
  'expected one of to=<address>:<port>, from=<SPIFFE ID> with or without port=<port> and at=<address>, and id=<connection id>';
const hostName = /^[A-Za-z0-9._-]{1,253}$/;
const connectionId = /^[\x21-\x7e]{1,128}$/;

/** Reads the query of `GET /explain`. */
export function parseQuestion(query: URLSearchParams): Question {
  const keys = [...query.keys()].sort().join(' ');
  switch (keys) {
    case 'to':
      return toOf(query.get('to') ?? '');
    case 'from':
    case 'from port':
    case 'at from':
    case 'at from port':
      return fromOf(query.get('from') ?? '', query.get('port'), query.get('at'));
    case 'id':
      return idOf(query.get('id') ?? '');
    default:
      return problem(`Nothing that can be explained was asked for, ${expected}`);
  }
}

function toOf(text: string): Question {
  const parts = splitHostPort(text);
  const host = parts && (canonicalIp(parts.host) ?? (hostName.test(parts.host) ? parts.host : undefined));
  if (parts !== undefined && host !== undefined) return { kind: 'to', host, port: parts.port };
  return problem(
    `The destination is '${shown(text)}', expected an address or a name with a port, such as 10.0.0.7:8080, [fd00::7]:8080 or api.shop:8080`,
  );
}

function fromOf(text: string, portText: string | null, atText: string | null): Question {
  const port = portText === null ? undefined : parsePort(portText);
  if (portText !== null && port === undefined)
    return problem(`The port is '${shown(portText)}', expected a number from 1 to 65535`);
  const at = atText === null ? undefined : canonicalIp(atText);
  if (atText !== null && at === undefined)
    return problem(`The address is '${shown(atText)}', expected one such as 10.0.0.7`);
  const ip = canonicalIp(text);
  if ((ip !== undefined || text === 'plaintext') && at !== undefined)
    return problem(`The caller is '${shown(text)}', expected a SPIFFE ID where its address is given besides`);
  if (ip !== undefined || text === 'plaintext') return { kind: 'from', caller: { kind: 'plaintext', ip }, port };
  const parsed = parseSpiffeId(text);
  if (parsed.kind === 'id') return { kind: 'from', caller: { kind: 'identity', id: parsed.id, ip: at }, port };
  return problem(
    `The caller is '${shown(text)}', which is no SPIFFE ID: ${parsed.why}; expected one such as spiffe://cluster.local/ns/shop/sa/web, an IP address, or plaintext`,
  );
}

function idOf(id: string): Question {
  if (connectionId.test(id)) return { kind: 'id', id };
  return problem(`The connection id is '${shown(id)}', expected the id of a log line, such as 3f9c2b71aa-1x`);
}

const shown = (text: string) => printable(text, 100);
