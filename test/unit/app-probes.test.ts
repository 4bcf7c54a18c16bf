import { describe, expect, it } from 'vitest';
import type { AppProbes } from '../../src/app-probes.ts';
import { appProbePath, formatAppProbes, ownerOf, parseAppProbes } from '../../src/app-probes.ts';

const livez = '/app-health/web/livez';
const read = (probe: unknown, path = livez) => parseAppProbes(JSON.stringify({ [path]: probe }));
const http = (httpGet: object) => ({ httpGet: { path: '/healthz', port: 8080, ...httpGet }, timeoutSeconds: 1 });

const full: AppProbes = {
  [livez]: {
    httpGet: {
      path: '/healthz?deep=1&x=%2F',
      port: 8080,
      scheme: 'HTTPS',
      httpHeaders: [{ name: 'Host', value: 'web' }],
    },
    timeoutSeconds: 3,
  },
  '/app-health/db/readyz': { tcpSocket: { port: 5432 }, timeoutSeconds: 1 },
  '/app-health/db/startupz': { grpc: { port: 9000, service: 'x' }, timeoutSeconds: 3600 },
};

describe('the text of the probes', () => {
  it('reads back what it writes, in the same order', () => {
    expect(parseAppProbes(formatAppProbes(full))).toEqual({ kind: 'value', value: full });
    const parsed = parseAppProbes(formatAppProbes(full));
    expect(parsed.kind === 'value' && formatAppProbes(parsed.value)).toBe(formatAppProbes(full));
  });

  it('fills in the defaults of Kubernetes', () => {
    expect(read(http({}))).toEqual({ kind: 'value', value: { [livez]: http({ scheme: 'HTTP', httpHeaders: [] }) } });
    expect(read({ grpc: { port: 1 }, timeoutSeconds: 1 })).toMatchObject({
      value: { [livez]: { grpc: { service: '' } } },
    });
  });

  it('puts a slash in front of a path without one, as the kubelet does', () => {
    expect(read(http({ path: 'healthz' }))).toMatchObject({ value: { [livez]: { httpGet: { path: '/healthz' } } } });
  });

  it('takes no probes', () => {
    expect(parseAppProbes('{}')).toEqual({ kind: 'value', value: {} });
  });
});

describe('a text that is wrong', () => {
  it.each([
    ['no JSON', 'livez', /^a JSON object of probes by path \(/],
    ['an empty text', '', /^a JSON object of probes by path/],
    ['a list', '[]', /^a JSON object of probes by path$/],
    ['null', 'null', /^a JSON object of probes by path$/],
    ['a prototype', '{"__proto__":{}}', /__proto__ is not allowed/],
    [
      'a prototype in a probe',
      `{"${livez}":{"tcpSocket":{"port":1,"__proto__":{"port":2}},"timeoutSeconds":1}}`,
      /__proto__ is not allowed/,
    ],
    [
      'an inherited name',
      `{"${livez}":{"tcpSocket":{"port":1},"timeoutSeconds":1,"constructor":1}}`,
      /constructor is not/,
    ],
    ['brackets without end', '['.repeat(60_000), /^a JSON object of probes by path/],
    ['nesting without end', `{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}`, /expected|JSON object|paths such as/],
    ['more than 64 KiB', JSON.stringify({ x: 'x'.repeat(64 * 1024) }), /^at most 65536 bytes$/],
    ['more than 64 KiB of UTF-8', `"${'é'.repeat(40_000)}"`, /^at most 65536 bytes$/],
  ])('%s is refused', (_, text, expected) => {
    expect(parseAppProbes(text)).toEqual({ kind: 'problem', expected: expect.stringMatching(expected) });
  });

  it('refuses more than 256 probes', () => {
    const probes = (count: number) =>
      Object.fromEntries(
        Array.from({ length: count }, (_, i) => [
          `/app-health/c${i}/livez`,
          { tcpSocket: { port: 1 }, timeoutSeconds: 1 },
        ]),
      );
    expect(parseAppProbes(JSON.stringify(probes(256))).kind).toBe('value');
    expect(parseAppProbes(JSON.stringify(probes(257)))).toEqual({ kind: 'problem', expected: 'at most 256 probes' });
  });

  it.each([
    '/livez',
    '/app-health/',
    '/app-health/web',
    '/app-health/web/healthz',
    '/app-health/web/livez/',
    '/app-health/Web/livez',
    '/app-health/../web/livez',
    '/app-health/web/livez?x',
    '/app-health//livez',
    `/app-health/${'a'.repeat(64)}/livez`,
  ])('refuses the path %s', (path) => {
    expect(read({ tcpSocket: { port: 1 }, timeoutSeconds: 1 }, path)).toEqual({
      kind: 'problem',
      expected: expect.stringMatching(/^paths such as/),
    });
  });

  const tcp = (port: unknown) => ({ tcpSocket: { port }, timeoutSeconds: 1 });
  const within = (timeoutSeconds: unknown) => ({ tcpSocket: { port: 1 }, timeoutSeconds });
  const withHeader = (name: unknown, value: unknown) => http({ httpHeaders: [{ name, value }] });

  it.each([
    [
      'a probe that is a text',
      'x',
      `one of httpGet, tcpSocket, grpc, then timeoutSeconds and nothing else at ${livez}`,
    ],
    ['no kind', { timeoutSeconds: 1 }, `exactly one of httpGet, tcpSocket, grpc at ${livez}`],
    ['two kinds', { ...tcp(1), grpc: { port: 1 } }, `exactly one of httpGet, tcpSocket, grpc at ${livez}`],
    [
      'an unknown field',
      { ...tcp(1), exec: {} },
      'one of httpGet, tcpSocket, grpc, then timeoutSeconds and nothing else',
    ],
    ['a host', http({ host: '10.0.0.1' }), 'path, port, scheme, httpHeaders and nothing else'],
    ['port 0', tcp(0), `a port from 1 to 65535 at ${livez} tcpSocket.port`],
    ['port 65536', tcp(65_536), 'a port from 1 to 65535'],
    ['a broken port', tcp(80.5), 'a port from 1 to 65535'],
    ['a named port', tcp('http'), 'a port from 1 to 65535'],
    ['a negative port', tcp(-1), 'a port from 1 to 65535'],
    ['no timeout', { tcpSocket: { port: 1 } }, 'one of httpGet, tcpSocket, grpc, then timeoutSeconds'],
    ['timeout 0', within(0), 'a whole number from 1 to 3600'],
    ['timeout 3601', within(3601), 'a whole number from 1 to 3600'],
    ['timeout 0.5', within(0.5), 'a whole number from 1 to 3600'],
    ['timeout null', within(null), 'a whole number from 1 to 3600'],
    ['scheme FTP', http({ scheme: 'FTP' }), 'HTTP or HTTPS'],
    ['an empty path', http({ path: '' }), 'a path of 1 to 2048 printable characters'],
    ['a path with a line break', http({ path: '/a\r\nx: y' }), 'a path of 1 to 2048 printable characters'],
    ['a path with half a character', http({ path: '/\ud800' }), 'a path of 1 to 2048 printable characters'],
    ['a long path', http({ path: `/${'a'.repeat(2048)}` }), 'a path of 1 to 2048 printable characters'],
    ['a header with a space in its name', withHeader('a b', ''), 'the name of an HTTP header'],
    ['a header without a name', withHeader('', ''), 'the name of an HTTP header'],
    ['a header name with a colon', withHeader('a:b', ''), 'the name of an HTTP header'],
    ['a header with a line break', withHeader('a', 'b\r\nc: d'), 'the printable value of an HTTP header'],
    ['a header that is a number', withHeader('a', 1), 'the printable value of an HTTP header'],
    ['headers as an object', http({ httpHeaders: { a: 'b' } }), 'a list of at most 64 headers'],
    [
      'too many headers',
      http({ httpHeaders: Array(65).fill({ name: 'a', value: 'b' }) }),
      'a list of at most 64 headers',
    ],
    ['a service with a NUL', { grpc: { port: 1, service: '\0' }, timeoutSeconds: 1 }, 'the name of a gRPC service'],
  ])('%s is refused', (_, probe, expected) => {
    expect(read(probe)).toEqual({ kind: 'problem', expected: expect.stringContaining(expected) });
  });
});

describe('the path of a probe', () => {
  it.each([
    ['livenessProbe', livez, false],
    ['readinessProbe', '/app-health/web/readyz', false],
    ['startupProbe', '/app-health/web/startupz', false],
    ['postStart', '/app-health/web/poststartz', true],
    ['preStop', '/app-health/web/prestopz', true],
  ] as const)('of %s is %s', (field, path, isHook) => {
    expect(appProbePath('web', field)).toBe(path);
    expect(ownerOf(path)).toEqual({ container: 'web', isHook });
  });
});
