import { describe, expect, it } from 'vitest';
import { ConfigurationError } from '../../../src/errors.ts';
import { injectionDocument } from '../../../src/injector/document.ts';
import { cpuMillis, memoryBytes } from '../../../src/injector/quantity.ts';
import { readInjectionSettings } from '../../../src/injector/settings.ts';

const least = 'image: remora:1\nmeshNetworks: [10.0.0.0/8]\n';
const read = (text: string) => readInjectionSettings({ path: 'injection.yaml', text });

function problemsOf(text: string): readonly string[] {
  try {
    read(text);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
}

describe('The settings of the injector', () => {
  it('have a default for all but the image and the networks of the mesh', () => {
    expect(problemsOf('trustDomain: cluster.local')).toEqual([
      expect.stringMatching(/^image is missing, expected .+--image$/),
      expect.stringMatching(/^meshNetworks is empty, expected .+--mesh-networks$/),
    ]);
    expect(read(least)).toMatchObject({ image: 'remora:1', sidecarMode: 'native', agent: {} });
  });

  it('pass those of the sidecar on as they are written, and only those that are given', () => {
    expect(read(`${least}logLevel: debug\nidleTimeout: 5m\nmaxConnections: 50\n`).agent).toEqual({
      logLevel: 'debug',
      idleTimeout: '5m',
      maxConnections: '50',
    });
  });

  it('are overridden by flags', () => {
    const origin = { kind: 'flag', flag: '--image' } as const;
    const settings = readInjectionSettings({ path: 'f', text: least }, [{ name: 'image', texts: ['other:2'], origin }]);
    expect(settings.image).toBe('other:2');
  });

  it.each([
    ['imagen: x', 'did you mean image?'],
    ['capture: false', 'is not a setting'],
    ['tokenFile: /etc/shadow', 'is not a setting'],
    ['sidecarMode: nativ', 'did you mean native?'],
    ['tokenLifetime: 5m', '10m to 1d'],
    ['memoryLimit: 64Mi', '96Mi to 16Gi'],
    ['memoryRequest: 512Mi', 'is above its limit'],
    ['certificateLifetime: 31d', 'no sidecar uses one that lives longer'],
    ['cpuLimit: 10m', 'is above its limit'],
    ['exclusionNamespaces: [Shop]', 'is not a namespace'],
    ['meshNetworks: 10.0.0.0/8', 'wrong shape'],
    ['meshNetworks: [10.0.0.0]', 'is not a range of addresses'],
    ['image: "x; rm -rf /"', 'is not an image'],
  ])('refuse %s', (line, problem) => {
    const name = line.split(':')[0] ?? '';
    const rest = least.split('\n').filter((text) => !text.startsWith(`${name}:`));
    expect(problemsOf([...rest, line].join('\n'))).toEqual([expect.stringContaining(problem)]);
  });

  it('are documented with the annotations of pods as docs/injection-settings.md does', async () => {
    await expect(injectionDocument()).toMatchFileSnapshot('../../../docs/injection-settings.md');
  });
});

describe('A quantity', () => {
  it.each([
    ['128Mi', 134_217_728],
    ['1G', 1_000_000_000],
    ['1000', 1000],
    ['1.5Gi', undefined],
    ['-1Mi', undefined],
    ['1mi', undefined],
    ['', undefined],
  ])('of memory: %s', (text, bytes) => expect(memoryBytes(text)).toBe(bytes));

  it.each([
    ['100m', 100],
    ['2', 2000],
    ['0.25', 250],
    ['.5', undefined],
    ['1e3', undefined],
    ['', undefined],
  ])('of CPU: %s', (text, millis) => expect(cpuMillis(text)).toBe(millis));
});
