import { describe, expect, it } from 'vitest';
import { parseQuestion } from '../../../../src/proxy/explain/question.ts';

const ask = (query: string) => parseQuestion(new URLSearchParams(query));

describe('a question', () => {
  it.each([
    ['to=10.0.0.7:8080', { kind: 'to', host: '10.0.0.7', port: 8080 }],
    ['to=[FD00::7]:80', { kind: 'to', host: 'fd00::7', port: 80 }],
    ['to=api.shop:80', { kind: 'to', host: 'api.shop', port: 80 }],
    ['from=10.0.0.7', { kind: 'from', caller: { kind: 'plaintext', ip: '10.0.0.7' }, port: undefined }],
    ['from=plaintext&port=80', { kind: 'from', caller: { kind: 'plaintext', ip: undefined }, port: 80 }],
    ['id=3f9c2b71aa-1x', { kind: 'id', id: '3f9c2b71aa-1x' }],
  ])('%s is understood', (query, question) => {
    expect(ask(query)).toEqual(question);
  });

  it('names an identity byte for byte', () => {
    expect(ask('port=80&from=spiffe://cluster.local/ns/shop/sa/web')).toMatchObject({
      kind: 'from',
      caller: { kind: 'identity', id: { uri: 'spiffe://cluster.local/ns/shop/sa/web' }, ip: undefined },
      port: 80,
    });
  });

  it('knows where an identity comes from, when that is said', () => {
    const caller = { kind: 'identity', ip: 'fd00::7' };
    expect(ask('from=spiffe://cluster.local/ns/shop/sa/web&at=FD00::7')).toMatchObject({ kind: 'from', caller });
  });

  it.each([
    ['', /^Nothing that can be explained was asked for, expected one of to=/],
    ['to=10.0.0.7:80&id=x', /^Nothing that can be explained/],
    ['to=10.0.0.7:80&to=10.0.0.8:80', /^Nothing that can be explained/],
    ['to=10.0.0.7:80&port=80', /^Nothing that can be explained/],
    ['to=10.0.0.7', /^The destination is '10.0.0.7', expected an address or a name with a port, such as/],
    ['to=10.0.0.7:0', /^The destination is '10.0.0.7:0'/],
    ['to=a%20b:80', /^The destination is 'a b:80'/],
    ['to=fe80::1%25eth0:80', /^The destination is/],
    ['from=spiffe://cluster.local', /which is no SPIFFE ID: it has no path; expected one such as spiffe:\/\//],
    ['from=spiffe://Cluster.local/ns/a/sa/b', /which is no SPIFFE ID: its trust domain is not/],
    ['from=web', /which is no SPIFFE ID: it does not start with spiffe:\/\//],
    ['from=plaintext&port=http', /^The port is 'http', expected a number from 1 to 65535$/],
    ['from=spiffe://cluster.local/ns/a/sa/b&at=web', /^The address is 'web', expected one such as/],
    ['from=plaintext&at=10.0.0.7', /^The caller is 'plaintext', expected a SPIFFE ID where its address is given/],
    ['id=', /^The connection id is '', expected the id of a log line/],
    ['id=%1b[2J', /^The connection id is '\uFFFD\[2J'/],
    [`id=${'x'.repeat(129)}`, /^The connection id is 'x{100}…'/],
  ])('%s is refused with one sentence', (query, sentence) => {
    const question = ask(query);
    expect(question.kind === 'problem' && question.why).toMatch(sentence);
  });
});
